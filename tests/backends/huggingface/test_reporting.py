"""What others are told of a fit, by the names that transformers uses."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import TrainerCallback

from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.language_models.settings import CHECKPOINTING
from causalopt.objectives.paper import DRCPO
from causalopt.progress import show_progress

NAMES = {
    "loss",
    "forward_kl",
    "logps/data",
    "logps/sampled",
    "weights/ess",
    "weights/max",
    "weights/clip_fraction",
    "num_tokens",
}
TRAINING = {"max_steps": 4, "logging_steps": 2, "per_device_train_batch_size": 16}


class Logs(TrainerCallback):
    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        self.logs.append(dict(logs))


def test_callbacks_of_transformers_see_every_metric(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    logs = Logs()
    backend = HuggingFaceBackend(training=TRAINING, callbacks=[logs])
    backend.fit(problem, DRCPO(clip=0.2), reference=reference, seed=0, progress=Progress())
    assert logs.logs[0].keys() >= NAMES
    assert logs.logs[1].keys() >= NAMES
    assert logs.logs[1]["num_tokens"] > logs.logs[0]["num_tokens"] > 0


def test_tensorboard_gets_the_metrics(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    backend = HuggingFaceBackend(training={**TRAINING, "report_to": "tensorboard"})
    backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    (events,) = tmp_path.rglob("events.*")
    read = EventAccumulator(str(events))
    read.Reload()
    assert {f"train/{name}" for name in NAMES} <= set(read.Tags()["scalars"])


def test_events_stay_where_they_are_kept(reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    progress = Progress(tmp_path / "work", events=tmp_path / "kept")
    backend = HuggingFaceBackend(training={**TRAINING, "report_to": "tensorboard"})
    backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=progress)
    assert [path.parent for path in tmp_path.rglob("events.*")] == [tmp_path / "kept"]


def test_mlflow_gets_the_metrics(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.chdir(tmp_path)
    backend = HuggingFaceBackend(training={**TRAINING, "report_to": "mlflow"})
    backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress(tmp_path / "work"))
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert {"loss", "forward_kl", "num_tokens"} <= run.data.metrics.keys()


def test_wandb_writes_offline(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    backend = HuggingFaceBackend(training={**TRAINING, "report_to": "wandb"})
    backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress(tmp_path / "work"))
    assert list(tmp_path.rglob("*.wandb"))


def test_metrics_are_shown_beside_the_bar(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    shown = io.StringIO()
    seen: list[float] = []
    progress = Progress(callbacks=[lambda event, metrics: seen.append(metrics["forward_kl"])])
    with show_progress(Console(file=shown, force_terminal=True, width=160)):
        HuggingFaceBackend(training=TRAINING).fit(problem, DRCPO(), reference=reference, seed=0, progress=progress)
    assert f"KL {seen[-1]:.3g}, effective sample" in shown.getvalue()
    assert "tokens/s" in shown.getvalue()


@pytest.mark.parametrize("training", [{CHECKPOINTING: True}, {"gradient_accumulation_steps": 2, CHECKPOINTING: True}])
def test_gradient_checkpointing_changes_nothing(
    reference: HuggingFacePolicy, problem: PolicyProblem, training: dict[str, Any]
) -> None:
    def steps(more: dict[str, Any]) -> list[float]:
        seen: list[float] = []
        progress = Progress(callbacks=[lambda event, metrics: seen.append(metrics["loss"])])
        settings = {**TRAINING, "gradient_accumulation_steps": training.get("gradient_accumulation_steps", 1), **more}
        HuggingFaceBackend(training=settings).fit(problem, DRCPO(), reference=reference, seed=0, progress=progress)
        return seen

    assert steps(training) == pytest.approx(steps({}), abs=1e-5)
