"""The logged text nearest to a sampled one, and the response to it that was observed, to compare a score with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from causalopt.data.dataset import DirectOutcomeDataset


def logged_neighbours(texts: Sequence[str], logged: Sequence[DirectOutcomeDataset]) -> pd.DataFrame:
    """Find for each text the logged one with the largest cosine similarity of their weighted words and pairs of words.

    Parameters
    ----------
    texts:
        m texts.
    logged:
        Data sets of logged texts with the same outcome.

    Returns
    -------
    DataFrame
        m rows with ``neighbour``, ``neighbour_outcome`` (the mean of the observed responses to it, weighted by
        exposure, outcome units; nan if there are none) and ``similarity`` (0 to 1). Equally near ones are decided by
        their order.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> from causalopt.run.neighbours import logged_neighbours
    >>> frame = pd.DataFrame({"text": ["a red cat", "a red cat", "the blue sea"], "outcome": [1.0, 2.0, 5.0]})
    >>> found = logged_neighbours(["one red cat"], [DirectOutcomeDataset.from_frame(frame)])
    >>> found[["neighbour", "neighbour_outcome"]].to_dict("records")
    [{'neighbour': 'a red cat', 'neighbour_outcome': 1.5}]
    """
    rows = pd.DataFrame(
        {
            "text": [text for data in logged for text in data.texts],
            "weight": np.concatenate([np.where(data.rated, data.weight, 0.0) for data in logged]),
            "response": np.concatenate([np.where(data.rated, data.weight * data.outcome, 0.0) for data in logged]),
        }
    )
    known = rows.groupby("text", sort=False)[["weight", "response"]].sum()
    # Single characters are words too, so that no text is without any.
    words = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
    matrix = words.fit_transform([*known.index, ""])[:-1]
    search = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(matrix)
    distance, place = search.kneighbors(words.transform(texts))
    # Texts of the same words in another order may be as near: the text itself is the nearest to it.
    itself = known.index.get_indexer(pd.Index(texts))
    nearest = known.iloc[np.where(itself >= 0, itself, place[:, 0])]
    mean = np.divide(
        nearest["response"].to_numpy(), nearest["weight"].to_numpy(), where=nearest["weight"].to_numpy() > 0,
        out=np.full(len(nearest), np.nan),
    )  # fmt: skip
    similarity = np.where(itself >= 0, 1.0, np.clip(1.0 - distance[:, 0], 0.0, 1.0))
    return pd.DataFrame({"neighbour": nearest.index.to_numpy(), "neighbour_outcome": mean, "similarity": similarity})
