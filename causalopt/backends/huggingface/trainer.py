"""`transformers.Trainer` for objectives of log-ratios, exact over the accumulation window and over processes.

An objective is a function of the whole window, whether it is a mean over its rows or a sum. An objective that couples
its batch needs all log-ratios at once: the window is scored first, the objective is differentiated once to obtain each
sequence's coefficient, and the micro-batches accumulate ``coefficient_i * log P^f(x_i)`` (docs/method.md,
"Objectives"). If a sequence's coefficient does not depend on the other log-ratios, their values are irrelevant: each
micro-batch is differentiated directly, within a window in which the other ratios are one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from causalopt.backends.contracts import Callback, CheckpointRule
from causalopt.backends.huggingface.batches import TrainingRows, from_tables, objective_inputs, to_tables, within
from causalopt.backends.huggingface.checkpoint_selection import JudgeWhenSaved, logged
from causalopt.backends.huggingface.checkpoints import load_weights
from causalopt.backends.huggingface.collapse import CollapseWatch
from causalopt.backends.huggingface.metrics import beside_the_bar
from causalopt.backends.huggingface.on_policy import Refresh
from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.backends.huggingface.sharding import check_sharding, gather, part, scatter
from causalopt.errors import CollapseWarning, ModelError
from causalopt.language_models.kernels.lora import use_fused_lora
from causalopt.language_models.quiet import quiet_transformers
from causalopt.language_models.scoring import CausalLM, SequenceLogProb
from causalopt.objectives.contract import Objective, ObjectiveInputs, coefficients
from causalopt.progress import track

START_TOLERANCE = 1e-3
"""Largest log-ratio of policy to reference at step 0, nats: float32 moves a log-probability by about 5e-5."""

Batch = dict[str, Tensor]
Describe = Callable[[ObjectiveInputs, Tensor], dict[str, float]]


class ObjectiveTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is an objective of the batch's log-ratios.

    Parameters
    ----------
    model:
        Scores sequences; its language model is trained.
    args:
        Training arguments, without mixed precision.
    rows:
        The data.
    objective:
        Objective of the whole window; one that depends on the whole training set is shown it at the start of each pass.
    describe:
        Metrics of a window from its scalars and the log-probabilities of its logged texts.
    bf16:
        Whether the gradient pass is computed in bfloat16.
    score_first:
        Whether coefficients come from a float32 pass even if the gradient pass alone would suffice: needed if that pass
        is bfloat16, which moves a log-ratio by tenths of a nat, and the objective is not linear in the log-ratio.
    starts_at_reference:
        Whether log-ratios to the reference must be 0 at step 0.
    as_policy:
        Makes a policy from a full model; needed by the next two.
    on_checkpoint, refresh:
        Judge the policy at every checkpoint, and draw new texts from it.
    watch:
        Stops a fit that collapses, and restores the weights from before.
    stage, report:
        Name of the stage, and callbacks that receive the metrics of each step together with it.

    Raises
    ------
    ConfigError
        If the weights are to be sharded in a way that is not supported.
    """

    def __init__(
        self,
        *,
        model: SequenceLogProb,
        args: TrainingArguments,
        rows: TrainingRows,
        objective: Objective,
        describe: Describe,
        bf16: bool = False,
        score_first: bool = False,
        starts_at_reference: bool = True,
        as_policy: Callable[[CausalLM], HuggingFacePolicy] | None = None,
        on_checkpoint: CheckpointRule | None = None,
        watch: CollapseWatch | None = None,
        refresh: Refresh | None = None,
        stage: str = "policy",
        report: tuple[Callback, ...] = (),
    ) -> None:
        if args.device.type == "cpu":  # fused layers bring no gain on a GPU (benchmarks/speed/RESULTS_GPU.md)
            use_fused_lora(model)
        model.derivative_dtype = torch.bfloat16 if bf16 else None
        super().__init__(model=model, args=args, train_dataset=rows, data_collator=rows.collate)
        self.remove_callback(PrinterCallback)
        self._maximand = objective
        self.objective = objective  # of the present pass over the rows
        self._rows = rows
        self.describe = describe
        self.bf16 = bf16
        self.score_first = score_first
        self.starts_at_reference = starts_at_reference
        self.stage = stage
        self.report = report
        self._tables: list[tuple[Tensor, Tensor]] = []
        self._tables_are_gathered = False
        self._unlogged: list[dict[str, float]] = []
        self.metrics: dict[str, float] = {}  # of the last step
        self.as_policy = as_policy
        self.on_checkpoint = on_checkpoint
        self.watch = watch
        self.refresh = refresh
        self._whole: CausalLM | None = None
        if self.is_deepspeed_enabled:
            check_sharding(None, self.accelerator.state.deepspeed_plugin.zero_stage)
        if self.is_fsdp_enabled:
            check_sharding(self.accelerator.state.fsdp_plugin.fsdp_version, None)
            self._whole = part(model.causal_lm)
        self.add_callback(_StepCallback(self))
        if on_checkpoint is not None:
            self.add_callback(JudgeWhenSaved(on_checkpoint))

    def whole_model(self) -> CausalLM:
        """Return the language model with all its current weights; every process must call it."""
        if self._whole is None:
            return self.model.causal_lm
        return gather(self.model.causal_lm, self._whole)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], None]:
        """Fetch the window's micro-batches and add to each the values that its part of the loss needs."""
        window, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.refresh is not None:
            # The loader prefetches batches, and the texts may have changed since.
            rows = self.train_dataset
            window = [send_to_device(rows.collate(batch["row"].tolist()), device) for batch in window]
        self._tables = []
        alone = len(window) == 1 and self.accelerator.num_processes == 1
        self._tables_are_gathered = self.score_first or (self.objective.couples_batch and not alone)
        if self._tables_are_gathered:
            self.model.train()  # as in the gradient pass: gradient checkpointing only works in training mode
            self._attach_coefficients(window)
        else:
            self._attach_windows(window)
        return window, None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return this micro-batch's part of the window's loss; the gradients of the parts sum to the window's."""
        kept = inputs.get("log_prob")
        log_prob: Tensor = model(inputs["ids"], inputs["length"], inputs["start"]) if kept is None else kept
        self._refuse_not_finite(log_prob, inputs)
        if "coefficient" in inputs:
            surrogate = (inputs["coefficient"] * log_prob).sum()
            # The gradient is that of the surrogate; the reported value is the window's loss.
            loss = surrogate - surrogate.detach() + inputs["window_loss"]
        else:
            scalars = objective_inputs(inputs, log_prob)
            self._tables.append(to_tables(scalars, inputs["behavior_log_prob"]))
            self._check_start(scalars.sampled_log_ratio)
            whole, _ = from_tables(inputs["window_data"], inputs["window_sampled"])
            at_start = self.objective(whole).detach()
            # For a sum over sequences this is the micro-batch's own part, and the parts sum to the window's loss.
            parts = self.current_gradient_accumulation_steps * self.accelerator.num_processes
            loss = self.objective(within(whole, scalars, *inputs["place"].tolist())) - at_start + at_start / parts
            if not torch.isfinite(loss):
                self._refuse_not_finite(torch.cat([scalars.log_ratio, scalars.sampled_log_ratio]).exp(), inputs)
        # Trainer divides by the number of micro-batches, and data-parallel training averages over processes.
        scale: int = self.current_gradient_accumulation_steps * self.accelerator.num_processes
        return loss * scale

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Cast the gradient pass only; if the forward graph was kept in float32, this casts the backward products."""
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.bf16):
            loss: Tensor = super().training_step(*args, **kwargs)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Judge the current policy by the caller's rule, and return its measurements as metrics."""
        assert self.on_checkpoint is not None
        found = self.on_checkpoint.judge(self._policy())
        self._after_policy()
        metrics = logged(found)
        self.log(metrics)
        if self.is_world_process_zero():
            for callback in self.report:
                callback("score", {"stage": self.stage, "step": self.state.global_step, **found})
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def draw(self) -> None:
        """Draw new texts from the current policy."""
        assert self.refresh is not None
        self.refresh.draw(self._policy(), self.state.global_step)
        self._after_policy()

    def _policy(self) -> HuggingFacePolicy:
        assert self.as_policy is not None
        model = self.whole_model().eval()
        return self.as_policy(model if self._whole is None else model.to(self.args.device))

    def _after_policy(self) -> None:
        self.model.train()
        if self._whole is not None:
            self._whole.to("cpu")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each metric since the last log."""
        for name in self._unlogged[0] if self._unlogged else ():
            logs.setdefault(name, sum(step[name] for step in self._unlogged) / len(self._unlogged))
        if self._unlogged:
            logs["num_tokens"] = self.state.num_input_tokens_seen
        self._unlogged = []
        super().log(logs, start_time)

    def end_step(self) -> None:
        """Report the metrics of the step's window; every process must call it."""
        data, sampled = (torch.cat(parts) for parts in zip(*self._tables, strict=True))
        if not self._tables_are_gathered:
            data, sampled = self._gather(data)[0], self._gather(sampled)[0]
        inputs, behavior_log_prob = from_tables(data, sampled)
        self.state.num_input_tokens_seen += int(inputs.length.sum() + inputs.sampled_length.sum())
        metrics = {
            "loss": float(self.objective(inputs)),
            **self.describe(inputs, inputs.log_ratio + behavior_log_prob),
        }
        self.metrics = metrics
        self._unlogged.append({name: value for name, value in metrics.items() if name != "loss"})
        self._watch(metrics, len(inputs.weight))
        if self.is_world_process_zero():
            step = {"stage": self.stage, "step": self.state.global_step, "epoch": self.state.epoch}
            for callback in self.report:
                callback("step", {**step, **metrics, "num_tokens": self.state.num_input_tokens_seen})

    def _watch(self, metrics: dict[str, float], rows: int) -> None:
        """Stop a fit that has collapsed and restore the weights from before; all processes decide alike."""
        if self.watch is None:
            return
        if not self.watch.sees(metrics, rows):
            self.watch.stepped(self.model)
            return
        self.watch.restore(self.model)
        self.control.should_training_stop = True
        self.control.should_save |= self.args.save_strategy != SaveStrategy.NO  # a resumed fit then finds the collapse
        distance = ""
        if "forward_kl" in metrics:
            distance = f", and KL(reference || policy) is {metrics['forward_kl']:.3g} nats"
        message = (
            f"the policy collapsed: at step {self.state.global_step} the effective sample size of a window of {rows} "
            f"texts is {metrics['weights/ess']:.1f}{distance}. The fit stopped, and the earlier policy is kept: lower "
            f"training.learning_rate (now {self.args.learning_rate:g}) or raise objective.forward_kl"
        )
        self.state.log_history.append({"step": self.state.global_step, "collapsed": message})
        warnings.warn(message, CollapseWarning, stacklevel=2)

    @torch.no_grad()
    def start_pass(self) -> None:
        """Show the scalars of all rows to an objective that depends on them; every process scores them all."""
        if not self._maximand.reads_whole_set:
            return
        self.model.train()
        tables = []
        n, size = len(self._rows.logged), self.args.per_device_train_batch_size
        for first in range(0, n, size):
            batch = self._rows.collate(range(first, min(first + size, n)))
            tables.append(self._score(send_to_device(batch, self.args.device)))
        data, sampled = (torch.cat(parts) for parts in zip(*tables, strict=True))
        self.objective = self._maximand.given(from_tables(data, sampled)[0])

    @torch.no_grad()
    def _attach_coefficients(self, window: list[Batch]) -> None:
        """Score the window and differentiate its loss by each log-probability, once for all processes."""
        parts = [self._score(batch) for batch in window[1:]]
        # The first batch is scored last: it is trained next, with the same weights, and need not be run again.
        parts.insert(0, self._score(window[0], keep_graph=self._scores_as_it_trains()))
        data, own_data = self._gather(torch.cat([part[0] for part in parts]))
        sampled, own_sampled = self._gather(torch.cat([part[1] for part in parts]))
        self._tables = [(data, sampled)]
        inputs, _ = from_tables(data, sampled)
        self._check_start(inputs.sampled_log_ratio)
        loss, d_data, d_sampled = coefficients(self.objective, inputs)
        data_parts = torch.split(d_data[own_data], [len(part[0]) for part in parts])
        sampled_parts = torch.split(d_sampled[own_sampled], [len(part[1]) for part in parts])
        for batch, d_logged, d_drawn in zip(window, data_parts, sampled_parts, strict=True):
            batch["coefficient"] = torch.cat([d_logged, d_drawn])
            self._refuse_not_finite(batch["coefficient"], batch)
            batch["window_loss"] = loss / len(window) / self.accelerator.num_processes

    def _score(self, batch: Batch, keep_graph: bool = False) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(keep_graph):
            log_prob = self.model(batch["ids"], batch["length"], batch["start"])
        self._refuse_not_finite(log_prob, batch)
        if keep_graph:
            batch["log_prob"] = log_prob
        return to_tables(objective_inputs(batch, log_prob), batch["behavior_log_prob"])

    def _scores_as_it_trains(self) -> bool:
        """Whether the first micro-batch's scoring pass is also the forward pass of its gradient.

        A float32 graph is as good as a bfloat16 one, and on a CPU cheaper than another pass; on a GPU it would take
        twice the memory. Data-parallel wrappers start their communication in the forward pass that directly precedes
        the backward pass, so with several processes the two passes are separate.
        """
        one_process = self.accelerator.num_processes == 1 and self.model_wrapped is self.model
        return one_process and (not self.bf16 or self.args.device.type == "cpu")

    def _attach_windows(self, window: list[Batch]) -> None:
        """Add to each micro-batch the scalars of the window, with all ratios one, and its position in the window."""
        tables = []
        for batch in window:
            start = torch.cat([batch["behavior_log_prob"], batch["sampled_reference_log_prob"]])
            tables.append(to_tables(objective_inputs(batch, start), batch["behavior_log_prob"]))
        data, own_data = self._gather(torch.cat([table[0] for table in tables]))
        sampled, own_sampled = self._gather(torch.cat([table[1] for table in tables]))
        first = torch.tensor([own_data.start, own_sampled.start])
        for batch, table in zip(window, tables, strict=True):
            batch |= {"window_data": data, "window_sampled": sampled, "place": first}
            first = first + torch.tensor([len(part) for part in table])

    def _gather(self, table: Tensor) -> tuple[Tensor, slice]:
        """Stack the rows of all processes, possibly of unequal number, and return the slice of this process."""
        if self.accelerator.num_processes == 1:
            return table, slice(0, len(table))
        counts = self.accelerator.gather(torch.tensor([len(table)], device=table.device)).tolist()
        padded = self.accelerator.gather(self.accelerator.pad_across_processes(table))
        most, mine = max(counts), self.accelerator.process_index
        rows = torch.cat([padded[i * most : i * most + count] for i, count in enumerate(counts)])
        first = sum(counts[:mine])
        return rows, slice(first, first + counts[mine])

    def _check_start(self, log_ratio: Tensor) -> None:
        if self.starts_at_reference and self.state.global_step == 0 and len(log_ratio):
            largest = float(log_ratio.detach().abs().max())
            if largest > START_TOLERANCE:
                raise ModelError(
                    f"the policy does not start at the reference: at step 0 a text's log-ratio is {largest:.2g} nats, "
                    f"but must be below {START_TOLERANCE:g}; were the reference's log-probabilities computed with "
                    "another model?"
                )

    def _refuse_not_finite(self, values: Tensor, batch: Batch) -> None:
        """Raise before a step that would corrupt the weights; ``values`` has one number for each sequence."""
        finite = torch.isfinite(values.detach()).cpu()
        if bool(finite.all()):
            return
        rows = batch["row"].cpu()
        n = len(rows)
        owner = torch.cat([rows, rows.repeat_interleave((len(finite) - n) // n)])
        named = sorted({int(row) for row in owner[~finite]})
        raise ModelError(
            f"step {self.state.global_step}: a log-probability or ratio of texts of rows {named[:10]} is not finite: "
            f"lower training.learning_rate (now {self.args.learning_rate:g}) or add a KL term; checkpoints of earlier "
            "steps are kept"
        )

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the policy's folder, with its card and tokenizer, before it is pushed to a hub."""
        assert self.as_policy is not None
        model = self.model.causal_lm if self._whole is None else self._whole
        self.as_policy(model).save(self.args.output_dir)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights, and everything else that is needed to resume the fit."""
        if self._whole is None:
            super().save_model(output_dir, _internal_call)
        else:
            self.whole_model()
            self._save(output_dir)
        if self.refresh is not None and self.args.should_save:
            self.refresh.save(Path(output_dir or self.args.output_dir))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write the trained weights: the adapter, or the full model."""
        if self.args.should_save:
            model = self.model.causal_lm if self._whole is None else self._whole
            with quiet_transformers():
                model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with quiet_transformers():
            super()._save_checkpoint(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self._whole is not None:
            load_weights(self._whole, Path(resume_from_checkpoint))
            scatter(self._whole, self.model.causal_lm)
            return
        with quiet_transformers():  # it warns about tied weights, which are written once
            super()._load_from_checkpoint(resume_from_checkpoint, self.model.causal_lm if model is None else model)


class _StepCallback(TrainerCallback):  # type: ignore[misc]
    """Reports each step, and updates the progress bar."""

    def __init__(self, trainer: ObjectiveTrainer) -> None:
        self._trainer = trainer
        self._bar: Iterator[int] = iter(())

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._trainer.watch is not None:
            self._trainer.watch.start(self._trainer.model)
        if state.is_world_process_zero:
            began, seen = time.monotonic(), state.num_input_tokens_seen

            def note() -> str:
                tokens = self._trainer.state.num_input_tokens_seen - seen
                return beside_the_bar(self._trainer.metrics, tokens / max(time.monotonic() - began, 1e-9))

            steps = range(state.global_step, state.max_steps)
            self._bar = iter(track(steps, f"training the {self._trainer.stage}", note=note))
            next(self._bar, None)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer.start_pass()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._trainer.end_step()
        next(self._bar, None)
        refresh = self._trainer.refresh
        if refresh is not None and state.global_step % refresh.every_steps == 0 and state.global_step < state.max_steps:
            self._trainer.draw()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._bar = iter(())
