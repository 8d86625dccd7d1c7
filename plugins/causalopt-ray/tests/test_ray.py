"""Tasks on Ray, with two workers: equal to those of one process to the last bit, whatever happens to the workers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")

from causalopt_ray import RayExecutor  # noqa: E402

import causalopt as co  # noqa: E402
from causalopt import plugins  # noqa: E402
from causalopt.embedding import embed  # noqa: E402
from causalopt.embedding.tfidf import TfidfSvdEmbedder  # noqa: E402
from causalopt.errors import ConfigError, WorkerError  # noqa: E402
from causalopt.nuisance.outcome.ridge import RidgeOutcome  # noqa: E402
from causalopt.run.config import parse_config  # noqa: E402
from causalopt.run.pipeline import run  # noqa: E402
from causalopt.run.plan import prepare  # noqa: E402
from causalopt.simulation import TemplateWorld  # noqa: E402
from causalopt.testing import check_executor  # noqa: E402

TWO = {"name": "ray", "workers": 2}


@pytest.fixture(scope="module", autouse=True)
def stopped():
    yield
    ray.shutdown()


def test_it_keeps_the_contract():
    check_executor(partial(RayExecutor, workers=2))


def test_it_is_found_by_name():
    assert plugins.executors.create(TWO).workers == 2
    assert plugins.executors.origin("ray") == "causalopt-ray"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "executor.workers must be at least 1"),
        ({"cpus": 0}, "executor.cpus must be above 0"),
        ({"gpus": -1}, "executor.gpus must be at least 0"),
        ({"retries": -1}, "executor.retries must be at least 0"),
        ({"address": "auto", "workers": 2}, "the cluster at auto has its own"),
    ],
)
def test_a_setting_out_of_range_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        RayExecutor(**settings)


def test_many_items_are_sent_a_few_at_a_time_and_their_results_keep_the_order():
    sent = []

    def items():
        for item in range(60):
            sent.append(item)
            yield item

    results = RayExecutor(workers=2).map(abs, items())
    assert next(results) == 0
    assert len(sent) <= 8 * ray.cluster_resources()["CPU"]
    assert list(results) == list(range(1, 60))


def test_a_run_with_repeats_has_the_same_metrics_to_the_last_bit(tmp_path):
    found = []
    for name, executor in (("local", "local"), ("ray", TWO)):
        raw = {
            "data": {"world": {"name": "template"}, "rows": 600},
            "cross_fitting": {"folds": 3, "repeats": 3},
            "backend": "finite",
            "choose": None,
            "executor": executor,
        }
        run(prepare(parse_config(raw)), tmp_path / name)
        found.append(tmp_path / name)
    one, other = found
    for file in ("metrics.json", "pseudo_outcomes.parquet", "samples.parquet"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert json.loads((one / "metrics.json").read_text())["value"]["difference"]["se"] > 0


def test_texts_are_embedded_to_the_same_bits(monkeypatch):
    monkeypatch.setattr("causalopt.embedding.CHUNK", 40)
    texts = [f"text {i % 7} of {i}" for i in range(100)]
    embedder = TfidfSvdEmbedder(dimensions=4).fit(texts)
    assert (embed(embedder, None, texts) == embed(embedder, None, texts, RayExecutor(workers=2))).all()


class EndsOnce(RidgeOutcome):
    """Says in which process it is fitted, and waits there to be killed; once."""

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder

    def fit(self, x, w, y, weight):
        mark = Path(self.folder) / "pid"
        if not mark.exists():
            partial_ = mark.with_suffix(".partial")
            partial_.write_text(str(os.getpid()))
            partial_.rename(mark)
            time.sleep(120)
        return super().fit(x, w, y, weight)


def test_a_worker_that_is_killed_in_the_middle_of_a_fit_loses_nothing(tmp_path):
    data = TemplateWorld().sample(400, seed=0)
    estimator = partial(co.PseudoOutcomeEstimator, folds=3, repeats=3, assignment_model="gaussian")
    mark, killed = tmp_path / "pid", []
    mark.touch()
    expected = estimator(outcome_model=EndsOnce(str(tmp_path))).fit_transform(data)
    mark.unlink()

    def kill():
        while not mark.exists():
            time.sleep(0.01)
        killed.append(int(mark.read_text()))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    start = time.monotonic()
    found = estimator(outcome_model=EndsOnce(str(tmp_path)), executor=TWO).fit_transform(data)
    killer.join()
    assert killed[0] != os.getpid()
    assert time.monotonic() - start < 100
    assert found.to_frame().equals(expected.to_frame())


def test_workers_that_always_end_are_given_up_in_one_line():
    with pytest.raises(WorkerError, match=r"^task 0 lost its worker 2 times \(.*\): too little memory") as caught:
        list(RayExecutor(workers=2, retries=1).map(_end, [0]))
    assert "\n" not in str(caught.value)


def _end(_):
    os._exit(9)
