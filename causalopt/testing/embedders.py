"""Checks of embedders, and of coders of attributes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from causalopt.embedding.coded_attributes import coded
from causalopt.embedding.contracts import AttributeCoder, Embedder
from causalopt.errors import DataError

TEXTS = [
    f"{verb} {noun} {when}" for verb in ("help", "give", "act") for noun in ("us", "them") for when in ("now", "soon")
]


def check_embedder(make: Callable[[], Embedder]) -> None:
    """Check an embedder against its contract (`causalopt.embedding.contracts.Embedder`).

    The check covers shape and type, finite values, equal texts, independence of the order of the texts and of the other
    texts, new texts, and a second fit.

    Parameters
    ----------
    make:
        Called without arguments, it returns an embedder that is not fitted.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.embedding.tfidf import TfidfSvdEmbedder
    >>> from causalopt.testing import check_embedder
    >>> check_embedder(TfidfSvdEmbedder)
    """
    embedder = make()
    name = type(embedder).__name__
    assert isinstance(embedder, Embedder), f"{name} lacks fit or transform"
    assert embedder.fit(TEXTS) is embedder, f"{name}.fit does not return the embedder itself"
    x = embedder.transform(TEXTS)
    assert x.ndim == 2, f"{name}.transform has {x.ndim} dimensions, not 2"
    assert len(x) == len(TEXTS), f"{name}.transform has {len(x)} rows for {len(TEXTS)} texts"
    assert x.dtype == np.float32, f"{name}.transform holds {x.dtype}, not float32"
    assert np.isfinite(x).all(), f"{name}.transform holds values that are not finite"
    backwards = embedder.transform(TEXTS[::-1])[::-1]
    assert np.allclose(x, backwards, atol=1e-5), f"{name}: a text's vector depends on the order of the texts"
    alone = embedder.transform(TEXTS[3:4])
    assert np.allclose(x[3:4], alone, atol=1e-5), f"{name}: a text's vector depends on the other texts"
    new = embedder.transform(["zebra unseen words", "help them now"])
    assert new.shape == (2, x.shape[1]), f"{name}: new texts have shape {new.shape}, not {(2, x.shape[1])}"
    assert np.isfinite(new).all(), f"{name}: a text of unseen words has values that are not finite"
    again = make().fit(TEXTS).transform(TEXTS)
    assert np.allclose(x, again, atol=1e-5), f"{name}: two fits on the same texts differ; pass a seed"


def check_attribute_coder(make: Callable[[], AttributeCoder]) -> None:
    """Check a coder against its contract (`causalopt.embedding.contracts.AttributeCoder`).

    The check covers a row for each text, finite numbers, the same columns for any texts, and independence of the order
    of the texts and of the other texts.

    Parameters
    ----------
    make:
        Called without arguments, it returns a coder.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.embedding.lexicon import LexiconCoder
    >>> from causalopt.testing import check_attribute_coder
    >>> check_attribute_coder(lambda: LexiconCoder({"help": ["help*"]}))
    """
    coder = make()
    name = type(coder).__name__
    assert isinstance(coder, AttributeCoder), f"{name} lacks code"
    try:
        frame = coded(coder, TEXTS)
        alone = coded(make(), TEXTS[3:4])
        backwards = coded(coder, TEXTS[::-1])
    except DataError as error:
        raise AssertionError(str(error)) from error
    assert list(alone.columns) == list(frame.columns), f"{name}: the columns depend on the texts"
    assert np.allclose(frame.iloc[3:4], alone, atol=1e-5), f"{name}: a text's codes depend on the other texts"
    assert np.allclose(frame, backwards.iloc[::-1], atol=1e-5), f"{name}: codes depend on the order of the texts"
