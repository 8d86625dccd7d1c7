"""Sequence log-probabilities of a causal language model: the one computation that scoring and training share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from causalopt.backends.huggingface.head import target_log_prob
from causalopt.backends.huggingface.tokenization import Tokens
from causalopt.errors import ModelError

CausalLM: TypeAlias = "PreTrainedModel | PeftModel"


def pack(sequences: Sequence[Tokens]) -> dict[str, Tensor]:
    """Join sequences end to end: ``ids`` [total], and ``length`` and ``start`` [n] of each."""
    return {
        "ids": torch.tensor([token for sequence in sequences for token in sequence.ids], dtype=torch.long),
        "length": torch.tensor([len(sequence.ids) for sequence in sequences], dtype=torch.long),
        "start": torch.tensor([sequence.start for sequence in sequences], dtype=torch.long),
    }


def length_buckets(lengths: Sequence[int], max_tokens: int, max_padding: int | None = None) -> list[list[int]]:
    """Group sequences of similar length, the longest first, into forward passes.

    Parameters
    ----------
    lengths:
        Tokens of each sequence.
    max_tokens, max_padding:
        Most tokens of a pass, its padding included, and most tokens of padding in it.

    Examples
    --------
    >>> from causalopt.backends.huggingface.scoring import length_buckets
    >>> length_buckets([3, 9, 4, 8], max_tokens=18)
    [[1, 3], [2, 0]]
    >>> length_buckets([3, 9, 4, 8], max_tokens=100, max_padding=5)
    [[1, 3], [2, 0]]
    """
    buckets: list[list[int]] = []
    room = padding = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        padding += lengths[buckets[-1][0]] - lengths[i] if buckets else 0
        if not room or (max_padding is not None and padding > max_padding):
            room, padding = max(1, max_tokens // max(1, lengths[i])), 0
            buckets.append([])
        buckets[-1].append(i)
        room -= 1
    return buckets


class SequenceLogProb(nn.Module):
    """log P(text | prompt) of packed sequences, by the language model that it holds.

    Sequences are padded on the right, where causal attention cannot see the padding, so that no mask is needed. The
    hidden states of scored positions alone go through the head, flattened to two dimensions.

    Parameters
    ----------
    causal_lm:
        The model, with or without an adapter.
    max_tokens:
        Tokens of one forward pass with padding; a longer batch takes several, or one when the weights are sharded.
    max_padding:
        Tokens of padding of one forward pass, likewise; no limit by default.

    Raises
    ------
    ModelError
        When the model's logits are not its head applied to its last hidden state.
    """

    def __init__(self, causal_lm: CausalLM, max_tokens: int = 2048, max_padding: int | None = None) -> None:
        super().__init__()
        self.causal_lm = causal_lm
        self.max_tokens = max_tokens
        self.max_padding = max_padding
        self._check_head()

    @property
    def config(self) -> Any:
        """Configuration of the language model, which a trainer looks for."""
        return self.causal_lm.config

    @property
    def _no_split_modules(self) -> Any:
        """Names of the layer classes that are sharded one by one."""
        return self._pretrained()._no_split_modules

    @property
    def _keys_to_ignore_on_save(self) -> Any:
        """What a trainer asks of a model whose full weights it has read from a checkpoint."""
        return self._pretrained()._keys_to_ignore_on_save

    def tie_weights(self) -> None:
        """See `_keys_to_ignore_on_save`."""
        self._pretrained().tie_weights()

    def forward(self, ids: Tensor, length: Tensor, start: Tensor) -> Tensor:
        """See `log_prob`."""
        return self.log_prob(ids, length, start)

    def log_prob(self, ids: Tensor, length: Tensor, start: Tensor) -> Tensor:
        """Sum of the scored tokens' log-probabilities.

        Parameters
        ----------
        ids, length, start:
            As `pack` gives them.

        Returns
        -------
        Tensor
            Shape [n], float64, nats; each token in the precision of the pass, and float32 at least in the softmax.
        """
        offset = length.cumsum(0) - length
        lengths = length.tolist()
        max_tokens, max_padding = self.max_tokens, self.max_padding
        if isinstance(self, FSDPModule):
            # Every process gathers the shards of each pass, so all must make equally many: one.
            max_tokens, max_padding = max(lengths, default=1) * max(1, len(lengths)), None
        totals, order = [], []
        for bucket in length_buckets(lengths, max_tokens, max_padding):
            rows = torch.tensor(bucket, device=ids.device)
            position = torch.arange(lengths[bucket[0]], device=ids.device)
            real = position < length[rows, None]
            index = (offset[rows, None] + position).clamp(max=len(ids) - 1)
            padded = ids[index].masked_fill(~real, 0)
            scored = (real & (position >= start[rows, None]))[:, 1:]
            hidden = self._backbone()(input_ids=padded[:, :-1], use_cache=False).last_hidden_state
            tokens = target_log_prob(self._head(), hidden[scored], padded[:, 1:][scored])
            totals.append(torch.zeros(scored.shape, dtype=torch.float64, device=ids.device))
            totals[-1] = totals[-1].masked_scatter(scored, tokens.double()).sum(1)
            order += bucket
        return torch.cat(totals)[torch.tensor(order, device=ids.device).argsort()]

    def activation_checkpointing_enable(self, **kwargs: Any) -> None:
        """Pass on what `TrainingArguments.activation_checkpointing` asks for."""
        self.causal_lm.activation_checkpointing_enable(**kwargs)

    def gradient_checkpointing_enable(self, **kwargs: Any) -> None:
        """Pass on what `TrainingArguments.gradient_checkpointing` asks for."""
        self.causal_lm.gradient_checkpointing_enable(**kwargs)

    def _pretrained(self) -> PreTrainedModel:
        return self.causal_lm.get_base_model() if isinstance(self.causal_lm, PeftModel) else self.causal_lm

    def _backbone(self) -> nn.Module:
        backbone: nn.Module = self._pretrained().base_model
        return backbone

    def _head(self) -> nn.Module:
        head: nn.Module = self._pretrained().get_output_embeddings()
        return head

    @torch.no_grad()
    def _check_head(self) -> None:
        """Compare with the model's own logits once: some models scale or cap them after the head."""
        name = type(self._pretrained()).__name__
        if isinstance(self.causal_lm, PeftModel) and not isinstance(self.causal_lm.base_model, BaseTuner):
            raise ModelError("the adapter is not one of weights (LoRA and its kin); prompt tuning is not supported")
        if self._head() is None or self._pretrained().base_model is self._pretrained():
            raise ModelError(f"{name} has no language-model head; choose a causal language model")
        ids = torch.arange(1, 6, device=self._pretrained().device)[None] % self.config.vocab_size
        own = self.causal_lm(input_ids=ids, use_cache=False).logits[0].float()
        ours = self._head()(self._backbone()(input_ids=ids, use_cache=False).last_hidden_state)[0].float()
        if not torch.allclose(own, ours, rtol=1e-3, atol=1e-3):
            raise ModelError(f"the logits of {name} are not its head applied to its last hidden state")
