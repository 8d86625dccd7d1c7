"""One fit: from the last checkpoint, if there is one, to the weights that are kept."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import torch
from transformers import TrainerCallback, TrainerState
from transformers.integrations import TensorBoardCallback

from causalopt.backends.contracts import Callback, CheckpointRule
from causalopt.backends.huggingface.batches import TrainingRows
from causalopt.backends.huggingface.checkpoint_selection import best_step, is_over
from causalopt.backends.huggingface.checkpoints import NoteDigests, last_checkpoint, load_weights
from causalopt.backends.huggingface.collapse import CollapseWatch
from causalopt.backends.huggingface.on_policy import Refresh
from causalopt.backends.huggingface.policy import HuggingFacePolicy, forward_limits
from causalopt.backends.huggingface.trainer import Describe, ObjectiveTrainer
from causalopt.errors import CausalOptError, CollapseWarning, ConfigError, ModelError, one_line
from causalopt.language_models.kernels.matmul import fast_products
from causalopt.language_models.quiet import changed_settings_expected
from causalopt.language_models.scoring import CausalLM, SequenceLogProb
from causalopt.language_models.settings import CHECKPOINTING, training_arguments
from causalopt.objectives.contract import Objective


@dataclass(frozen=True)
class Fit:
    """The specification of a fit.

    Attributes
    ----------
    stage:
        "reference" or "policy", for messages and callbacks.
    rows, objective, describe, score_first, starts_at_reference:
        As in `ObjectiveTrainer`.
    training:
        Settings of `transformers.TrainingArguments`.
    seed, bf16:
        Seed of the order of the rows, and whether the gradient pass is computed in bfloat16.
    as_policy:
        Makes a policy from the model during the fit.
    on_checkpoint, watch, refresh:
        The rule for the policy to keep (by default the last one), the detection of a collapse, and the source of new
        texts for the g term.
    report, callbacks:
        Callbacks of causalopt and of transformers.
    trainer_class, events:
        Class of the trainer, and the folder of TensorBoard's events.
    """

    stage: str
    rows: TrainingRows
    objective: Objective
    describe: Describe
    training: Mapping[str, Any]
    seed: int
    bf16: bool
    as_policy: Callable[[CausalLM], HuggingFacePolicy]
    score_first: bool = False
    starts_at_reference: bool = True
    on_checkpoint: CheckpointRule | None = None
    watch: CollapseWatch | None = None
    refresh: Refresh | None = None
    report: Sequence[Callback] = ()
    callbacks: Sequence[TrainerCallback] = ()
    trainer_class: type[ObjectiveTrainer] = ObjectiveTrainer
    events: Path | None = None


def train(model: CausalLM, fit: Fit, folder: Path | None) -> CausalLM | None:
    """Train ``model`` in place and return it unsharded, or None if the policy to keep is the start of the fit.

    Parameters
    ----------
    model:
        Its parameters that require a gradient are trained.
    fit:
        Everything else that determines the result.
    folder:
        Folder for checkpoints, from which a fit is resumed; None keeps none.

    Raises
    ------
    ModelError
        If a loss is not finite, memory runs out, or another process trains in the folder.
    """
    with _claimed(folder) as output:
        saves = folder is not None or fit.on_checkpoint is not None
        args = training_arguments({} if saves else {"save_strategy": "no"}, fit.training, output, fit.seed)
        if fit.on_checkpoint is not None:
            if args.save_strategy not in ("steps", "epoch"):
                raise ConfigError("only saved policies can be selected: set training.save_strategy to steps or epoch")
            args.metric_for_best_model, args.greater_is_better = "score", True
        with _settings_in_one_line():
            loop = fit.trainer_class(
                model=SequenceLogProb(model, *forward_limits(model.device)),
                args=args,
                rows=fit.rows,
                objective=fit.objective,
                describe=fit.describe,
                bf16=fit.bf16,
                score_first=fit.score_first,
                starts_at_reference=fit.starts_at_reference,
                as_policy=fit.as_policy,
                on_checkpoint=fit.on_checkpoint,
                watch=fit.watch,
                refresh=fit.refresh,
                stage=fit.stage,
                report=tuple(fit.report),
            )
        for callback in loop.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and fit.events is not None:
                callback.logging_dir = callback.logging_dir or str(fit.events)  # of the environment, if it is set
        for callback in (*fit.callbacks, NoteDigests()):  # after all that write to a checkpoint
            loop.add_callback(callback)
        done = last_checkpoint(output)
        state = None if done is None else TrainerState.load_from_json(str(done / "trainer_state.json"))
        if done is not None and fit.refresh is not None:
            fit.refresh.load(fit.as_policy(model), done)
        history = [] if state is None else state.log_history
        collapses = [entry["collapsed"] for entry in history if "collapsed" in entry]
        for message in collapses:
            warnings.warn(message, CollapseWarning, stacklevel=2)
        over = bool(collapses) or (fit.on_checkpoint is not None and is_over(fit.on_checkpoint, history))
        if state is None or not over:
            _run(loop, done)
            state = loop.state
        trained = loop.whole_model()
        if over and done is not None:
            load_weights(trained, done)
        if fit.on_checkpoint is not None:
            best = best_step(fit.on_checkpoint, state.log_history)
            if best is None:
                return None
            load_weights(trained, output / f"checkpoint-{best}")
        if args.push_to_hub:
            loop.push_to_hub()
    return trained


def _run(loop: ObjectiveTrainer, checkpoint: Path | None) -> None:
    try:
        with fast_products(), changed_settings_expected():
            loop.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except (TypeError, ValueError, KeyError, ImportError) as error:
        if loop.lr_scheduler is not None:
            raise  # training had begun
        raise ConfigError(f"backend.training: {one_line(error)}") from error
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"memory ran out while training the {loop.stage}: lower training.per_device_train_batch_size and raise "
            "training.gradient_accumulation_steps by the same factor, which gives the same gradient; or set "
            f"training.{CHECKPOINTING} or a smaller backend.max_length"
        ) from error


@contextmanager
def _settings_in_one_line() -> Iterator[None]:
    """Name the settings in what a trainer raises when it is made: it looks at many of them only there."""
    try:
        yield
    except (CausalOptError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ConfigError(f"backend.training: {one_line(error)}") from error


@contextmanager
def _claimed(folder: Path | None) -> Iterator[Path]:
    """Yield the folder of the checkpoints, locked against other runs; a temporary folder for None."""
    if folder is None:
        with tempfile.TemporaryDirectory() as output:
            yield Path(output)
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(str(folder / "_lock"))  # names that start with _ are not pushed to a hub
    main = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    try:
        if main:
            lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ModelError(f"{folder}: another run is training in it; name another directory") from None
    try:
        yield folder
    finally:
        lock.release()
