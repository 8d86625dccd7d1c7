"""What is said of groups of readers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt.evaluation import judge_groups

FRAME = pd.DataFrame(
    {
        "group": ["a", "b", "c", "d", "e"],
        "gain": [1.0, -1.0, 0.1, -2.0, np.nan],
        "ci_low": [0.5, -1.5, -0.4, -3.0, np.nan],
        "ci_high": [1.5, -0.5, 0.6, -1.0, np.nan],
        "ess": [50.0, 50.0, 50.0, 19.0, np.nan],
    }
)


def test_only_intervals_that_exclude_zero_with_enough_units_conclude():
    found = judge_groups(FRAME, outcome="rating", level=0.9)
    assert found.outlooks == ("gains", "loses", "unclear", "unclear", "unclear")
    assert found.sentence == (
        "Readers with b lose: rating would move by -1.0 (90% simultaneous interval -1.5 to -0.5). Readers with a gain."
    )


def test_smaller_may_be_better():
    found = judge_groups(FRAME, direction="minimize")
    assert found.outlooks[:2] == ("loses", "gains")
    assert found.sentence.startswith("Readers with a lose")


@pytest.mark.parametrize("barred", [["The assignment model failed."], []])
def test_what_bars_a_conclusion_bars_it_for_groups(barred):
    frame = FRAME if barred else FRAME.iloc[2:]
    found = judge_groups(frame, barred=barred)
    assert set(found.outlooks) == {"unclear"}
    assert found.sentence == "No group of readers can be shown to gain or to lose."


def test_without_groups_nothing_is_said():
    assert judge_groups(FRAME.iloc[:0]).sentence == ""
