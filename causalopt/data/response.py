"""Whose value an estimate is: of all readers who were shown a text, or of those who answered."""

from __future__ import annotations

from causalopt.data.dataset import DirectOutcomeDataset


def who_answers(data: DirectOutcomeDataset) -> str | None:
    """Describe who a value refers to, if not every row has an outcome; None if every row has one.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> from causalopt.data.response import who_answers
    >>> frame = pd.DataFrame({"text": ["a", "b", "b", "c"], "outcome": [1.0, 2.0, None, None]})
    >>> who_answers(DirectOutcomeDataset.from_frame(frame, on_missing="model"))[:65]
    '2 of 4 rows have an outcome. The value is that of all readers, if'
    """
    if not data.rated.all():
        prompt = "" if data.prompts is None else "the prompt, "
        return (
            f"{int(data.rated.sum()):,} of {len(data):,} rows have an outcome. The value is that of all readers, if "
            f"those who respond to a text are like those who do not: given {prompt}the text and the covariates, "
            "whether a reader responds must not depend on the response. The data cannot test this."
        )
    if "no outcome" in data.dropped:
        return (
            f"{data.dropped['no outcome']:,} rows without an outcome were left out, so that the value is that of those "
            "who answer. data.on_missing: model keeps these rows, and gives the value of all readers."
        )
    return None
