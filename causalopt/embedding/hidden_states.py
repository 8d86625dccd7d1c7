"""Hidden states of a causal language model as embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator

from causalopt.embedding.locate import local_folder
from causalopt.embedding.weights import hash_model
from causalopt.errors import ConfigError, TruncationWarning
from causalopt.progress import track
from causalopt.typing import Float32


class HiddenStatesEmbedder(BaseEstimator):  # type: ignore[misc]
    """Mean or last hidden state over a text's tokens, of one layer of a causal language model, in float32.

    Parameters
    ----------
    model:
        As for the huggingface backend: a hub id, a folder (of a model or of a PEFT adapter), or ``smollm2``.
    layer:
        Index into the hidden states; 0 is the token embedding, -1 the last layer.
    pooling:
        "mean" over the tokens, or "last".
    batch_size:
        Number of texts per forward pass; texts of similar length are batched together, and padding does not change the
        embeddings.

    Raises
    ------
    ConfigError
        If a setting is not one of these values.
    ModelError
        If there is no such folder, or, on the first use, no such model.

    Warns
    -----
    TruncationWarning
        With the number of texts that are longer than the model's context.
    """

    def __init__(
        self, model: str = "smollm2", layer: int = -1, pooling: Literal["mean", "last"] = "mean", batch_size: int = 16
    ) -> None:
        if pooling not in ("mean", "last"):
            raise ConfigError(f"embedder.pooling must be mean or last, not {pooling!r}")
        if batch_size < 1:
            raise ConfigError(f"embedder.batch_size must be at least 1, not {batch_size}")
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.batch_size = batch_size
        self._source = str(local_folder(model) or model)
        self._loaded: tuple[Any, Any] | None = None

    def fit(self, texts: Sequence[str]) -> Self:
        """Load the model; it learns nothing from the texts."""
        self._load()
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        """Embed, shape [n, d], float32."""
        import torch

        body, tokenizer = self._load()
        ids = self._ids(tokenizer, texts, getattr(body.config, "max_position_embeddings", None))
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        vectors = np.zeros((len(ids), body.config.hidden_size), dtype=np.float32)
        for batch in track(batches, "embedding texts"):
            width = len(ids[batch[0]])
            # Right padding needs no mask: causal attention does not look ahead.
            padded = torch.tensor([[*ids[i], *[0] * (width - len(ids[i]))] for i in batch], device=body.device)
            with torch.inference_mode():
                states = body(input_ids=padded, output_hidden_states=True, use_cache=False).hidden_states[self.layer]
            for i, state in zip(batch, states.float(), strict=True):
                real = state[: len(ids[i])]
                vectors[i] = (real.mean(0) if self.pooling == "mean" else real[-1]).cpu().numpy()
        return vectors

    def fingerprint(self) -> str:
        """Hash of everything that determines an embedding."""
        body, tokenizer = self._load()
        return hash_model(body, tokenizer, self.layer, self.pooling)

    def _ids(self, tokenizer: Any, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        from causalopt.language_models.quiet import quiet_transformers

        with quiet_transformers():
            # A text that spells a special token is tokenised as ordinary characters.
            whole = tokenizer(list(texts), split_special_tokens=True)["input_ids"] if len(texts) else []
        cut = 0 if limit is None else sum(len(ids) > limit for ids in whole)
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} texts are longer than the {limit} tokens of {self.model!r}'s context, and were "
                "embedded by their beginnings",
                TruncationWarning,
                stacklevel=3,
            )
        nothing = [tokenizer.eos_token_id]  # an empty text consists of the end token alone
        return [ids[:limit] or nothing for ids in whole]

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from peft import PeftModel

            from causalopt.language_models.load import load_model

            loaded = load_model(self._source)
            model = loaded.model
            # The layers without the head: the [tokens, vocabulary] logits are not needed here.
            body = (model.get_base_model() if isinstance(model, PeftModel) else model).base_model
            layers = int(body.config.num_hidden_layers)
            if not -layers - 1 <= self.layer <= layers:
                raise ConfigError(
                    f"embedder.layer is {self.layer}; {self.model!r} has {layers} layers, so it may be "
                    f"{-layers - 1} to {layers}"
                )
            self._loaded = (body, loaded.tokenizer)
        return self._loaded
