"""Coded attributes, looked up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt.embedding import embed
from causalopt.embedding.attributes import AttributesEmbedder
from causalopt.errors import DataError

CODED = pd.DataFrame({"brave": [1.0, 0.0, 1.0], "evil": [0.0, 1.0, 0.0]})


def test_a_text_is_its_coding():
    embedder = AttributesEmbedder().learn(["a", "b", "a"], CODED).fit(["a", "b"])
    found = embed(embedder, None, ["b", "a", "b"])
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_what_is_not_coded_is_named():
    embedder = AttributesEmbedder().learn(["a", "b", "a"], CODED)
    with pytest.raises(DataError, match="text 'c' has no coded attributes"):
        embedder.transform(["a", "c"])
    with pytest.raises(DataError, match="text 'c' has no coded attributes"):
        embedder.fit(["c"])
    with pytest.raises(DataError, match="text 'a' has two different codings in brave, evil"):
        AttributesEmbedder().learn(["a", "a", "b"], CODED)
    with pytest.raises(DataError, match=r"needs data\.attributes"):
        AttributesEmbedder().learn(["a"], pd.DataFrame(index=[0]))
