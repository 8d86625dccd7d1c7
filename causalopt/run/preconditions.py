"""What a table cannot show, said before any work."""

from __future__ import annotations

import warnings

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.diagnostics.verdict import TOO_FEW
from causalopt.errors import CausalOptWarning, DataError


def refuse_one_text(data: DirectOutcomeDataset) -> None:
    """Raise `DataError` if all rows have the same text."""
    if len(set(data.texts)) < 2:
        raise DataError(
            f"{data.source}: every row has the same text, {data.texts[0][:60]!r}: nothing can be learned of other texts"
        )


def warn_of_twins(data: DirectOutcomeDataset) -> None:
    """Warn of texts that differ from another in spaces or capitals alone."""
    texts = set(data.texts)
    twins = len(texts) - len({" ".join(text.split()).casefold() for text in texts})
    if twins:
        warnings.warn(
            f"{data.source}: {twins:,} of {len(texts):,} texts differ from another in spaces or capitals alone, and "
            "count as texts of their own",
            CausalOptWarning,
            stacklevel=2,
        )


def warn_of_few(test: DirectOutcomeDataset) -> None:
    """Warn if the test rows are too few for any conclusion."""
    count = test.unit_count()
    if count < TOO_FEW:
        warnings.warn(
            f"{test.source}: the test rows hold {count:,} {' or '.join(test.units())}; nothing is concluded from fewer "
            f"than {TOO_FEW:.0f}",
            CausalOptWarning,
            stacklevel=2,
        )
