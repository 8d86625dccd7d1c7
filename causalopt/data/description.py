"""What a data set holds, in words and in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from causalopt.data.dataset import DirectOutcomeDataset


def summary_rows(data: DirectOutcomeDataset) -> list[tuple[str, str]]:
    """Return labels and values, as `causalopt.summary.Summarised` shows them."""
    mean, spread = data.outcome_mean_and_spread()
    texts = len(np.unique(data.text_code))
    left_out = "".join(f", {count:,} left out: {why}" for why, count in data.dropped.items())
    found = [
        ("source", data.source),
        ("rows", f"{len(data):,}{left_out}"),
        ("texts", f"{texts:,}, {len(data) / max(texts, 1):.3g} readings each"),
        ("outcome", f"{data.columns.outcome}, {data.direction}; mean {mean:.4g}, standard deviation {spread:.4g}"),
    ]
    if data.observed is not None:
        found.append(("outcomes observed", f"{data.rated.mean():.1%} of the rows"))
    if data.prompts is not None:
        found.append(("prompts", f"{len(set(data.prompts)):,}"))
    if data.reader is not None:
        found.append(("readers", f"{len(np.unique(data.reader)):,}"))
    found.append(("covariates", ", ".join(map(str, data.covariates)) or "none: texts are treated as randomised"))
    return [*found, ("drawn", " and ".join(data.units()))]


def describe(data: DirectOutcomeDataset) -> pd.DataFrame:
    """See `DirectOutcomeDataset.describe`."""
    lengths = pd.Series([len(text) for text in data.texts])
    rows = {
        data.columns.text: _row(lengths) | {"distinct": len(np.unique(data.text_code))},
        data.columns.outcome: _row(pd.Series(data.outcome)),
        **{str(name): _row(values) for name, values in data.covariates.items()},
    }
    if data.columns.weight is not None:
        rows[data.columns.weight] = _row(pd.Series(data.weight))
    return pd.DataFrame.from_dict(rows, orient="index").astype({"count": int, "distinct": int})


def _row(values: pd.Series) -> dict[str, Any]:
    numbers = values if pd.api.types.is_numeric_dtype(values) else pd.Series(dtype=np.float64)
    return {
        "count": int(values.notna().sum()),
        "distinct": int(values.nunique()),
        "mean": float(numbers.mean()),
        "std": float(numbers.std()),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
    }
