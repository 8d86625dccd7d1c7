"""TRL's KTO, as its users run it and at its strongest."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from typing import Any

import datasets
from peft import LoraConfig
from torch import Tensor
from transformers import PrinterCallback
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from benchmarks.speed.clock import Clock, Segment, now
from benchmarks.speed.systems import COMMON, OF_A_PEER, System, as_it_comes
from benchmarks.speed.workload import LORA, Workload
from causalopt.language_models.kernels.matmul import fast_products
from causalopt.language_models.load import twin
from causalopt.language_models.quiet import quiet_transformers

STRONGEST: dict[str, Any] = {
    "loss_type": "apo_zero_unpaired",
    "precompute_ref_log_probs": True,
    "gradient_checkpointing": False,
    "train_sampling_strategy": "group_by_length",
    "remove_unused_columns": False,  # they hold the lengths
}


def kto(*, our_kernels: bool = False, **settings: Any) -> System:
    """Return `trl.KTOTrainer` with some settings of `trl.KTOConfig`; it trains the logged texts alone.

    With ``our_kernels`` it computes attention and matrix products as our backend does, for which TRL has no setting.
    """

    def run(work: Workload) -> Segment:
        datasets.disable_progress_bars()
        model, tokenizer = work.reference.model, work.reference.codec.tokenizer
        model = twin(model) if our_kernels else as_it_comes(model)
        collate = _Counting(DataCollatorForUnpairedPreference(tokenizer.pad_token_id, max_length=1024))
        clock = Clock()
        # TRL draws a bar of its own and advises on the labels' weights.
        with tempfile.TemporaryDirectory() as output, quiet_transformers(), redirect_stderr(io.StringIO()):
            args = KTOConfig(
                output, **{**COMMON, **OF_A_PEER, "per_device_train_batch_size": work.rows_per_step, **settings}
            )
            trainer = _Timed(
                model,
                args=args,
                train_dataset=_dataset(work, output),
                data_collator=collate,
                processing_class=tokenizer,
                peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA),
                callbacks=[clock],
            )
            trainer.remove_callback(PrinterCallback)
            collate.tokens.clear()  # of the reference's pass
            with fast_products() if our_kernels else nullcontext():
                trainer.train()
        sequences = (work.steps - 1) * work.rows_per_step
        return clock.segment(sum(collate.tokens[1:]), sequences, trainer.precompute_seconds)

    return run


class _Timed(KTOTrainer):  # type: ignore[misc]
    precompute_seconds = 0.0

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> datasets.Dataset:
        started = now()
        done = super()._precompute_ref_logps(*args, **kwargs)
        self.precompute_seconds = now() - started
        return done


class _Counting:
    """Real tokens of each batch of logged texts, in order."""

    def __init__(self, collate: DataCollatorForUnpairedPreference) -> None:
        self._collate = collate
        self.tokens: list[int] = []

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = self._collate(examples)
        self.tokens.append(int(batch["attention_mask"].sum()))
        return batch


def _dataset(work: Workload, folder: str) -> datasets.Dataset:
    """Lie in ``folder``, where TRL's cache of the reference then is too: a run finds nothing of another."""
    problem = work.problem
    logged = [tokens for batch in work.batches(sampled=False) for tokens in batch]
    columns = {
        "prompt": list(problem.prompts or ()),
        "completion": [" " + text for text in problem.texts],
        "label": work.label,
        "length": [len(tokens.ids) for tokens in logged],
    }
    datasets.Dataset.from_dict(columns).save_to_disk(f"{folder}/data")
    return datasets.load_from_disk(f"{folder}/data")


SYSTEMS: dict[str, System] = {
    "TRL KTO default, bfloat16": kto(),
    "TRL KTO default, float32": kto(bf16=False),
    "TRL KTO strongest, bfloat16": kto(**STRONGEST, bf16=True),
    "TRL KTO strongest, float32": kto(**STRONGEST, bf16=False),
    "TRL KTO strongest, float32, our kernels": kto(our_kernels=True, **STRONGEST, bf16=False),
}
