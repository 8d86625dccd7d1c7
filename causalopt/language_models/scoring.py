"""Sequence log-probabilities of a causal language model: the one computation that scoring and training share.

Texts of a forward pass are packed where the attention kernel can tell them apart, and are padded otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from causalopt.errors import ModelError
from causalopt.language_models.batching import full_buckets, length_buckets
from causalopt.language_models.kernels.attention import NAME, SHORT
from causalopt.language_models.kernels.head import target_log_prob

CausalLM: TypeAlias = "PreTrainedModel | PeftModel"

APART = 1e-4
"""Of the largest logit, by which packed sequences may differ from one that is alone: rounding in float32."""


class SequenceLogProb(nn.Module):
    """log P(text | prompt) of sequences, by the language model that it holds.

    Short sequences are packed into one row where the model's attention is `attention.NAME` and its own output shows
    that it keeps them apart. Others are padded on the right, where causal attention cannot see the padding, so that no
    mask is needed. The hidden states of scored positions alone go through the head, flattened to two dimensions.

    Parameters
    ----------
    causal_lm:
        The model, with or without an adapter.
    max_tokens:
        Tokens of one forward pass with its padding; a longer batch takes several, or one when the weights are sharded.
    max_padding:
        Tokens of padding of one forward pass, likewise; no limit by default.

    Attributes
    ----------
    derivative_dtype:
        As `target_log_prob` takes it; None at first.
    packs:
        Whether sequences may be packed.

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
        self.derivative_dtype: torch.dtype | None = None
        self._check_kind()
        with torch.no_grad():
            ids = torch.arange(1, 6, device=causal_lm.device) % self.config.vocab_size
            logits = causal_lm(input_ids=ids[None], use_cache=False).logits[0].float()
            self.packs = self._packs(ids, logits)
            if not self.packs:  # which shows that they are the head's, too
                self._check_head(ids, logits)

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
            As `passes.pack` gives them.

        Returns
        -------
        Tensor
            Shape [n], float64, nats; each token in the precision of the pass, and float32 at least in the softmax.
        """
        offset = length.cumsum(0) - length
        totals: list[Tensor] = []
        order: list[int] = []
        for bucket, packed in self._passes(length.tolist()):
            rows = torch.tensor(bucket, device=ids.device)
            inputs = length[rows] - 1
            position = torch.arange(int(inputs.max()), device=ids.device).expand(len(bucket), -1)
            real = position < inputs[:, None]
            index = offset[rows, None] + position
            scored = real & (position + 1 >= start[rows, None])
            if packed:
                hidden = self._end_to_end(ids[index[real]], position[real], inputs)[scored[real]]
            else:
                padded = ids[index.clamp(max=len(ids) - 1)].masked_fill(~real, 0)
                hidden = self._backbone()(input_ids=padded, use_cache=False).last_hidden_state[scored]
            target = ids[index[scored] + 1]
            tokens = target_log_prob(self._head(), hidden, target, derivative_dtype=self.derivative_dtype)
            of_token = torch.zeros(scored.shape, dtype=torch.float64, device=ids.device)
            totals.append(of_token.masked_scatter(scored, tokens.double()).sum(1))
            order += bucket
        return torch.cat(totals)[torch.tensor(order, device=ids.device).argsort()]

    def _passes(self, lengths: list[int]) -> Iterator[tuple[list[int], bool]]:
        """Yield the sequences of each forward pass, the longest first, and whether they are packed in it."""
        if isinstance(self, FSDPModule):
            # Every process gathers the shards of each pass, so all must make equally many: one.
            yield sorted(range(len(lengths)), key=lambda i: -lengths[i]), False
            return
        short = [i for i, tokens in enumerate(lengths) if self.packs and 1 < tokens <= SHORT + 1]
        for bucket in full_buckets([lengths[i] for i in short], self.max_tokens):
            yield [short[i] for i in bucket], True
        others = sorted(set(range(len(lengths))) - set(short))
        for bucket in length_buckets([lengths[i] for i in others], self.max_tokens, self.max_padding):
            yield [others[i] for i in bucket], False

    def _end_to_end(self, ids: Tensor, position: Tensor, lengths: Tensor) -> Tensor:
        """Last hidden states, shape [tokens, width], of sequences that follow each other by length."""
        tokens, count = torch.unique_consecutive(lengths, return_counts=True)
        runs = tuple(zip(count.tolist(), tokens.tolist(), strict=True))
        output = self._backbone()(input_ids=ids[None], position_ids=position[None], use_cache=False, runs=runs)
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

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

    def _check_kind(self) -> None:
        name = type(self._pretrained()).__name__
        if isinstance(self.causal_lm, PeftModel) and not isinstance(self.causal_lm.base_model, BaseTuner):
            raise ModelError("the adapter is not one of weights (LoRA and its kin); prompt tuning is not supported")
        if self._head() is None or self._pretrained().base_model is self._pretrained():
            raise ModelError(f"{name} has no language-model head; choose a causal language model")

    def _check_head(self, ids: Tensor, logits: Tensor) -> None:
        """Refuse a model whose ``logits`` of ``ids`` are not its head's: some are scaled or capped after it."""
        ours = self._head()(self._backbone()(input_ids=ids[None], use_cache=False).last_hidden_state)[0].float()
        if not torch.allclose(logits, ours, rtol=1e-3, atol=1e-3):
            name = type(self._pretrained()).__name__
            raise ModelError(f"the logits of {name} are not its head applied to its last hidden state")

    def _packs(self, ids: Tensor, logits: Tensor) -> bool:
        """Whether the model gives ``logits`` to ``ids`` behind other tokens, too, when told that they begin anew."""
        if self._pretrained().config._attn_implementation != NAME:
            return False
        n = len(ids)
        position = torch.arange(n, device=ids.device).repeat(2)
        try:
            hidden = self._end_to_end(torch.cat([ids.flip(0), ids]), position, torch.tensor([n, n], device=ids.device))
        except TypeError:  # a model that hands nothing on to its attention
            return False
        error = (self._head()(hidden[n:]).float() - logits).abs().max()
        return bool(error < APART * logits.abs().max())
