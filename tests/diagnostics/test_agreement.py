"""Figures of agreement against published worked examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt.diagnostics.agreement import agreement
from causalopt.errors import ConfigError, DataError

_ = np.nan
# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", p. 8; and the table of Gwet (2014) that irrCAC
# documents as raw_4raters: 12 units, 4 raters.
FOUR = pd.DataFrame(
    {
        "1": [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        "2": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, _],
        "3": [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 3],
        "4": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    }
)
KRIPPENDORFF = pd.DataFrame(
    {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        "C": [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    }
)
# Shrout and Fleiss (1979), table 2: 6 targets, 4 judges.
SHROUT_FLEISS = pd.DataFrame(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)
# Fleiss (1971), table 1: 30 psychiatric patients, 6 diagnoses each: depression, personality disorder, schizophrenia,
# neurosis, other.
FLEISS = [
    (0, 0, 0, 6, 0), (0, 3, 0, 0, 3), (0, 1, 4, 0, 1), (0, 0, 0, 0, 6), (0, 3, 0, 3, 0), (2, 0, 4, 0, 0),
    (0, 0, 4, 0, 2), (2, 0, 3, 1, 0), (2, 0, 0, 4, 0), (0, 0, 0, 0, 6), (1, 0, 0, 5, 0), (1, 1, 0, 4, 0),
    (0, 3, 3, 0, 0), (1, 0, 0, 5, 0), (0, 2, 0, 3, 1), (0, 0, 5, 0, 1), (3, 0, 0, 1, 2), (5, 1, 0, 0, 0),
    (0, 2, 0, 4, 0), (1, 0, 2, 0, 3), (0, 0, 0, 0, 6), (0, 1, 0, 5, 0), (0, 2, 0, 1, 3), (2, 0, 0, 4, 0),
    (1, 0, 0, 4, 1), (0, 5, 0, 1, 0), (4, 0, 0, 0, 2), (0, 2, 0, 4, 0), (1, 0, 5, 0, 0), (0, 0, 0, 0, 6),
]  # fmt: skip


def value(found, measure):
    return found.table.set_index("measure").loc[measure, "value"]


def test_gwets_table() -> None:
    pytest.importorskip("irrCAC")
    found = agreement(FOUR, "nominal").table.set_index("measure")
    row = found.loc["Gwet's AC1"]
    # irrCAC's documentation of this table: AC1 0.77544, 95% interval 0.46081 to 1.
    assert (round(row["value"], 5), round(row["ci_low"], 5), row["ci_high"]) == (0.77544, 0.46081, 1)
    quadratic = agreement(FOUR, "interval")
    assert value(quadratic, "Gwet's AC2, quadratic weights") == pytest.approx(0.91400, abs=5e-6)


def test_krippendorffs_example() -> None:
    pytest.importorskip("krippendorff")
    for scale, published in (("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)):
        found = value(agreement(KRIPPENDORFF, scale), f"Krippendorff's alpha, {scale}")
        assert round(found, 3) == published


def test_shrout_and_fleiss() -> None:
    pytest.importorskip("pingouin")
    found = agreement(SHROUT_FLEISS, "interval")
    assert round(value(found, "ICC(2,1)"), 2) == 0.29
    assert round(value(found, "ICC(2,k)"), 2) == 0.62


def test_fleiss_diagnoses() -> None:
    rows = [[k for k, count in enumerate(counts) for _ in range(count)] for counts in FLEISS]
    found = agreement(pd.DataFrame(rows), "nominal").table.set_index("measure").loc["Fleiss' kappa"]
    assert round(found["value"], 3) == 0.430
    assert found["ci_low"] < 0.430 < found["ci_high"]


def test_cohens_kappa_of_two_raters() -> None:
    # Fleiss, Levin and Paik (2003), table 18.1: 100 subjects, kappa 0.68.
    cells = {("p", "p"): 75, ("p", "n"): 1, ("p", "o"): 4, ("n", "p"): 5, ("n", "n"): 4, ("n", "o"): 1,
             ("o", "p"): 0, ("o", "n"): 0, ("o", "o"): 10}  # fmt: skip
    rows = [pair for pair, count in cells.items() for _ in range(count)]
    assert round(value(agreement(pd.DataFrame(rows)), "Cohen's kappa"), 2) == 0.68


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(DataError, match="1 rater gave answers"):
        agreement(pd.DataFrame({"a": [1, 2], "b": [_, _]}))
    with pytest.raises(DataError, match="every answer is 'tie'"):
        agreement(pd.DataFrame({"a": ["tie", "tie"], "b": ["tie", "tie"]}))
    with pytest.raises(DataError, match="no item has answers of two raters"):
        agreement(pd.DataFrame({"a": [1, _], "b": [_, 2]}))
    with pytest.raises(DataError, match="not a number"):
        agreement(pd.DataFrame({"a": ["x", "y"], "b": ["x", "x"]}), "interval")
    with pytest.raises(ConfigError, match="nominal, ordinal, interval"):
        agreement(FOUR, "cardinal")
    single = agreement(pd.DataFrame({"ann": ["yes", "no"], "bob": ["no", None]}))
    assert "needs two such items" in single.left_out["Gwet's AC"]
    assert "equally many" in agreement(FOUR).left_out["Fleiss' kappa"]
    assert "needs 5" in agreement(SHROUT_FLEISS.iloc[:3], "interval").left_out["ICC"]
