"""Tasks in processes of this machine: equal to those of one process, in order, with their errors and warnings."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

import causalopt as co
from causalopt import plugins
from causalopt.embedding import embed
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import CausalOptWarning, ConfigError, DataError, WorkerError
from causalopt.executors import LocalExecutor
from causalopt.nuisance.outcome.ridge import RidgeOutcome
from causalopt.simulation import TemplateWorld
from causalopt.testing import check_executor


def test_one_process_is_an_ordinary_call() -> None:
    check_executor(LocalExecutor, lost_workers=False)
    here = []
    assert list(LocalExecutor().map(lambda item: here.append(item) or os.getpid(), [1, 2])) == [os.getpid()] * 2
    assert here == [1, 2]


def test_two_processes_keep_the_contract() -> None:
    check_executor(partial(LocalExecutor, processes=2))


def test_results_keep_the_order_of_the_items_when_later_ones_end_first() -> None:
    assert list(LocalExecutor(2).map(_slow_first, range(6))) == list(range(6))


def _slow_first(item: int) -> int:
    time.sleep(0.5 if item == 0 else 0)
    return item


def test_what_cannot_be_sent_is_one_clear_line() -> None:
    lock = threading.Lock()
    for function, items in ((lambda item: (lock, item)[1], [1, 2]), (abs, [lock, lock]), (_lock, [1, 2])):
        with pytest.raises(ConfigError, match=r"^a task cannot be sent to another process \(.*lock.*\): use"):
            list(LocalExecutor(2).map(function, items))


def _lock(_: int) -> Any:
    return threading.Lock()


def test_an_error_has_the_workers_traceback_as_a_note_and_one_that_does_not_pickle_is_described() -> None:
    with pytest.raises(DataError) as caught:
        list(LocalExecutor(2).map(_refuse, [0]))
    assert str(caught.value) == "column 'age' is empty"
    assert "in _refuse" in caught.value.__notes__[0]
    with pytest.raises(WorkerError, match=r"^a task failed: Awkward: two lines\n"):
        list(LocalExecutor(2).map(_awkward, [0]))


def _refuse(_: int) -> None:
    raise DataError("column 'age' is empty")


class Awkward(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}\n{second}")


def _awkward(_: int) -> None:
    raise Awkward("two", "lines")


def test_warnings_pass_the_filters_of_the_caller() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(LocalExecutor(2).map(_doubt, [3])) == [3]
    with pytest.raises(CausalOptWarning, match="doubtful"):
        list(LocalExecutor(2).map(_doubt, [3]))  # the suite makes errors of them


def _doubt(item: int) -> int:
    warnings.warn("doubtful", CausalOptWarning, stacklevel=1)
    return item


def test_a_process_that_is_killed_from_outside_loses_nothing(tmp_path: Path) -> None:
    def kill() -> None:
        while not (tmp_path / "1").exists():
            time.sleep(0.01)
        os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert list(LocalExecutor(2).map(partial(_note_and_wait, str(tmp_path)), range(6))) == list(range(6))
    killer.join()


def _note_and_wait(folder: str, item: int) -> int:
    partial_, whole = Path(folder) / f"{item}.partial", Path(folder) / str(item)
    first = not whole.exists()
    partial_.write_text(str(os.getpid()))
    partial_.rename(whole)
    if item == 1 and first:
        time.sleep(60)
    return item


def test_processes_that_always_end_are_given_up_in_one_line() -> None:
    with pytest.raises(WorkerError, match=r"^worker processes ended 2 times while task 0 was waited for"):
        list(LocalExecutor(2, retries=1).map(_end, [0]))


def _end(_: int) -> None:
    os._exit(9)


def test_workers_that_a_task_itself_has_lost_are_its_error() -> None:
    results = LocalExecutor(2).map(_lose, [0, 1])
    assert next(results) == 0
    with pytest.raises(TerminatedWorkerError, match="those of task 1"):
        next(results)


def _lose(item: int) -> int:
    if item:
        raise TerminatedWorkerError(f"those of task {item}")
    return item


@pytest.mark.parametrize("settings", [{"processes": 0}, {"retries": -1}])
def test_a_setting_out_of_range_is_named(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"^executor.{next(iter(settings))} must be a whole number of at least"):
        plugins.executors.create({"name": "local", **settings})


def test_a_part_that_is_registered_in_code_is_known_to_the_workers() -> None:
    @plugins.outcome_models.register("mine, in code")
    class Mine(RidgeOutcome):
        pass

    assert list(LocalExecutor(2).map(_known, ["mine, in code"])) == ["Mine"]


def _known(name: str) -> str:
    return type(plugins.outcome_models.create(name)).__name__


def test_texts_are_embedded_in_the_same_chunks_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("causalopt.embedding.CHUNK", 40)
    texts = [f"text {i % 7} of {i}" for i in range(100)]
    embedder = TfidfSvdEmbedder(dimensions=4).fit(texts)
    here = embed(embedder, texts[::-1], texts)
    assert np.array_equal(here[:, :4], embedder.transform(texts))
    assert np.array_equal(here, embed(embedder, texts[::-1], texts, LocalExecutor(2)))


def test_repeats_in_two_processes_equal_those_of_one_to_the_last_bit() -> None:
    data = TemplateWorld().sample(400, seed=0)
    found = [
        co.PseudoOutcomeEstimator(folds=3, repeats=3, executor=executor).fit_transform(data)
        for executor in ("local", {"name": "local", "processes": 2})
    ]
    one, two = found
    assert one.to_frame().equals(two.to_frame())
    assert one.scores.equals(two.scores)
    assert sorted(one.scores["repeat"].unique()) == [0, 1, 2]
    texts = data.texts[:20]
    assert np.array_equal(one.dose_response(texts), two.dose_response(texts))


class Noted:
    """Carries tasks out here, and notes of what they were and how many."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int]] = []

    def map(self, function: Any, items: Any) -> Any:
        items = list(items)
        self.tasks.append((getattr(function, "func", function).__name__, len(items)))
        return map(function, items)


def test_chunks_and_repeats_are_tasks_and_what_need_not_be_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TemplateWorld().sample(300, seed=0)
    settings = {"outcome_model": "ridge", "assignment_model": "randomized", "folds": 2}
    noted = Noted()
    co.PseudoOutcomeEstimator(**settings, executor=noted).fit_transform(data)
    assert noted.tasks == []
    monkeypatch.setattr("causalopt.embedding.CHUNK", 100)
    co.PseudoOutcomeEstimator(**settings, repeats=3, executor=noted).fit_transform(data)
    chunks = -(-len(set(data.texts)) // 100)
    assert chunks > 1
    assert noted.tasks == [("transform", chunks), ("_fit_one", 3), ("_fit_one", 3)]


def test_a_fit_on_other_rows_serves_all_repeats_and_is_no_task() -> None:
    data, other = (TemplateWorld().sample(300, seed=seed) for seed in (0, 1))
    noted = Noted()
    settings = {"outcome_model": "ridge", "assignment_model": "randomized", "folds": 2, "repeats": 2}
    co.PseudoOutcomeEstimator(**settings, executor=noted).fit_transform(data, outcome_data=other)
    assert noted.tasks == [("_fit_one", 2)]  # those of the assignment model


def test_repeats_are_those_that_a_single_fit_would_have_made() -> None:
    """Each repeat is what `candidates` fits alone, with the repeat's own random numbers."""
    from causalopt.nuisance import candidates
    from causalopt.nuisance.repeats import over_repeats
    from causalopt.nuisance.rows import Rows

    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(120, 3)), rng.normal(size=(120, 2))
    rows = Rows.of(x, w, x[:, 0] + w[:, 0])
    labels = np.stack([rng.permutation(120) % 3 for _ in range(3)])
    fit = partial(candidates.fit_assignment, "gaussian", rows, labels, 5, 20.0)
    together, apart = fit(repeats=range(3)), over_repeats(fit, 3, LocalExecutor())
    assert np.array_equal(together.arrays[0], apart.arrays[0])
    assert together.scores.equals(apart.scores)
    assert [len(models) for models in apart.models] == [3, 3, 3]
