"""The reference paper's published recipe, as its code computes it rather than as its text defines it.

github.com/torylin/causal-preference-optimization, ``trainer.py`` (``bias_corrected_rlhf_loss``) and
``run_template.sh``. With S(x) the *sum of raw logits at the text's own tokens, unshifted, padding included* (the code's
"sentence_log_probs"), D = S_policy - S_reference, softmaxes over one micro-batch of 4, and n training rows, it
maximises

    mean_i softmax(D)_i softmax(S_reference)_i (y_i - m(x_i)) / n  +  mean_j softmax(D~)_j m(x~_j),

where m is a regression on the text alone and x~ are texts of the reference. So the score is not a log-probability,
position t is scored against token t and not t + 1, padding counts as text, the weights sum to one within four texts,
and the correction is some n times smaller than the plug-in term.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from benchmarks.confounding.estimation import pseudo_outcomes, reference_samples
from benchmarks.confounding.methods.language_model import trainable
from benchmarks.confounding.methods.trainers import train
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset

MICRO_BATCH = 4


@dataclass(frozen=True)
class PublishedRecipe:
    """DR-CPO as published; only the learning rate and the number of epochs are tuned, as for every method."""

    learning_rate: float = 1e-3
    epochs: float = 1
    seed: int = 0

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        model, codec = trainable(reference, self.seed)
        pseudo = pseudo_outcomes(dataset, "text-only", "randomized")
        drawn = [row[0] for row in reference_samples(reference, dataset, 1)]
        logged_ids = [tokens.ids for tokens in codec.encode(dataset.prompts, dataset.texts)]
        drawn_ids = [tokens.ids for tokens in codec.encode(dataset.prompts, drawn)]
        # The code pads every text to one length.
        width = max(len(ids) for ids in [*logged_ids, *drawn_ids])
        sign = 1.0 if dataset.direction == "maximize" else -1.0
        rows = {
            "logged": _padded(logged_ids, width, codec.end),
            "drawn": _padded(drawn_ids, width, codec.end),
            "outcome": torch.tensor(sign * dataset.outcome),
            "predicted": torch.tensor(sign * pseudo.g),
            "predicted_drawn": torch.tensor(sign * pseudo.dose_response(drawn, dataset.prompts)),
        }
        for name in ("logged", "drawn"):
            rows[f"reference_{name}"] = _score_in_batches(reference.model, rows[name])  # type: ignore[attr-defined]
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=MICRO_BATCH,
                learning_rate=self.learning_rate,
                num_train_epochs=self.epochs,
                seed=self.seed,
                data_seed=self.seed,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            )
            items = [{name: column[i] for name, column in rows.items()} for i in range(len(dataset))]
            trainer = _PublishedTrainer(model=model, args=arguments, train_dataset=items, data_collator=_stack)
            return train(trainer, reference)


class _PublishedTrainer(Trainer):  # type: ignore[misc]
    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        return published_loss(
            raw_score(model, inputs["logged"]),
            raw_score(model, inputs["drawn"]),
            inputs,
            rows=len(self.train_dataset),
        )


def raw_score(model: Any, ids: Tensor) -> Tensor:
    """Sum over all positions, padding too, of the logit at position t of the token at position t, shape [b]."""
    logits = model(input_ids=ids, use_cache=False).logits
    return logits.gather(2, ids[..., None])[..., 0].sum(1)


def published_loss(score: Tensor, score_drawn: Tensor, inputs: dict[str, Tensor], rows: int) -> Tensor:
    """Loss of one micro-batch; softmaxes are over it."""
    ratio = torch.softmax(score - inputs["reference_logged"], 0)
    ratio_drawn = torch.softmax(score_drawn - inputs["reference_drawn"], 0)
    norm = torch.softmax(inputs["reference_logged"], 0)
    correction = ratio * norm / rows * (inputs["outcome"] - inputs["predicted"])
    return -(correction + ratio_drawn * inputs["predicted_drawn"]).mean()


def _padded(sequences: Sequence[list[int]], width: int, padding: int) -> Tensor:
    return torch.tensor([ids + [padding] * (width - len(ids)) for ids in sequences])


def _stack(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


@torch.inference_mode()
def _score_in_batches(model: Any, ids: Tensor) -> Tensor:
    return torch.cat([raw_score(model, batch) for batch in ids.split(64)])
