"""Embeddings cached on disk, for slow encoders and recurring texts."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Protocol, Self, runtime_checkable
from zipfile import BadZipFile

import numpy as np

from causalopt import plugins
from causalopt.doors import as_texts, check_type
from causalopt.embedding.contracts import Embedder
from causalopt.errors import ConfigError, DataError
from causalopt.output import impossible, shown_path, writing
from causalopt.typing import Float32


@runtime_checkable
class Fingerprinted(Protocol):
    """An embedder whose embeddings can be cached: its fingerprint identifies the function from texts to vectors."""

    def fingerprint(self) -> str:
        """Hash of everything that determines an embedding: settings, weights, and what was learnt in `fit`."""
        ...


class CachedEmbedder:
    """Embeds each text only once, and caches the vector under the hashes of the text and of the fitted embedder.

    Another model, other weights, other settings or, for an embedder that learns, other training texts make another
    embedder, whose vectors are stored separately. Several processes may share a directory.

    Parameters
    ----------
    embedder:
        An embedder with a method ``fingerprint() -> str``, or its name, or a mapping with name and settings.
    directory:
        Where vectors are stored; ``embeddings`` in ``$CAUSALOPT_CACHE``, or in ``~/.cache/causalopt``, by default.

    Raises
    ------
    ConfigError
        If the embedder has no fingerprint.

    Notes
    -----
    A damaged file counts as missing: its vectors are computed again.

    Examples
    --------
    >>> import tempfile
    >>> from causalopt.embedding.cache import CachedEmbedder
    >>> texts = ["a warm day", "a cold day", "one night"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     embedder = CachedEmbedder({"name": "tfidf-svd", "dimensions": 2}, folder).fit(texts)
    ...     bool((embedder.transform(texts) == embedder.transform(texts)).all())
    True
    """

    def __init__(self, embedder: str | Mapping[str, Any] | Embedder, directory: str | Path | None = None) -> None:
        self.embedder: Embedder = plugins.embedders.create(embedder)
        if not isinstance(self.embedder, Fingerprinted):
            raise ConfigError(
                f"embedder {type(self.embedder).__name__} has no fingerprint(), so cached embeddings could be out of "
                "date; its embeddings are not cached"
            )
        cache = os.environ.get("CAUSALOPT_CACHE") or Path.home() / ".cache" / "causalopt"
        check_type("embedder.directory", directory, (str, Path, NoneType), "a path")
        if directory is not None and impossible(directory) is not None:
            raise ConfigError(f"embedder.directory: {shown_path(directory)}: {impossible(directory)}; name a folder")
        self.directory = Path(cache) / "embeddings" if directory is None else Path(directory)
        self._folder: Path | None = None
        self._read: set[Path] = set()
        self._known: dict[bytes, Float32] = {}

    def fit(self, texts: Sequence[str]) -> Self:
        """Fit the embedder, and find its cached vectors."""
        self.embedder.fit(as_texts("texts", texts))
        self._folder = self.directory / self.fingerprint()
        self._read, self._known = set(), {}
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        """Embed, shape [n, d], float32; only texts that are not in the cache are passed to the embedder."""
        if self._folder is None:
            raise ConfigError("CachedEmbedder: call fit before transform")
        texts = as_texts("texts", texts)
        if not texts:
            raise DataError("there are no texts to embed")
        self._read_new(self._folder)
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        unseen = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if unseen:
            vectors = np.asarray(self.embedder.transform(list(unseen.values())), dtype=np.float32)
            self._keep(self._folder, list(unseen), vectors)
        return np.stack([self._known[key] for key in keys])

    def fingerprint(self) -> str:
        """Hash of everything that determines an embedding."""
        assert isinstance(self.embedder, Fingerprinted)
        return self.embedder.fingerprint()

    def _keep(self, folder: Path, keys: list[bytes], vectors: Float32) -> None:
        """Write one file under a unique name, atomically, so that no other process reads a partial one."""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=folder, suffix=".partial")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    hashes = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 32)
                    np.savez(stream, keys=hashes, vectors=vectors)
                target = Path(partial).with_suffix(".npz")
                os.replace(partial, target)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        self._read.add(target)
        self._known.update(zip(keys, vectors, strict=True))

    def _read_new(self, folder: Path) -> None:
        for path in sorted(set(folder.glob("*.npz")) - self._read):
            content = io.BytesIO(path.read_bytes())
            try:
                with np.load(content, allow_pickle=False) as kept:
                    keys, vectors = kept["keys"], kept["vectors"]
            except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile):
                continue  # damaged (every part of a zip file has a checksum): its vectors are computed again
            self._known.update((key.tobytes(), vector) for key, vector in zip(keys, vectors, strict=True))
            self._read.add(path)
