"""From replications to the table and its bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy.stats import beta

from benchmarks.judge.letters import CASES
from benchmarks.judge.replication import BALANCE, CJE, KNOWN
from benchmarks.output import Bar
from benchmarks.running import markdown, replications_table

CELL = ["case", "method", "weights"]
LOW, HIGH = 0.92, 0.98
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "bias": "+.3f",
    "rmse": ".3f",
    "coverage": ".3f",
    "width": ".3f",
    "replications": "",
    "not carried over": ".2f",
}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row a case and method; "not carried over" is the share of tables whose transport test rejects at 5%."""
    order = {name: k for k, name in enumerate(CASES)}
    known = results[results["method"] != "refused"].assign(weights=lambda rows: rows["weights"].fillna(""))
    cells = replications_table(known.sort_values([*CELL, "replication"]), CELL)
    tested = known.assign(rejected=(known["transport_p"] < 0.05).where(known["transport_p"].notna()))
    rejected = tested.groupby(CELL)["rejected"].mean().rename("not carried over").reset_index()
    return cells.merge(rejected, on=CELL).sort_values("case", key=lambda case: case.map(order), kind="stable")


def refused(results: pd.DataFrame) -> pd.Series:
    """Share of the tables that were refused, by case."""
    return (results["method"] == "refused").groupby(results["case"]).sum() / results.groupby("case")[
        "replication"
    ].nunique()


def bars(results: pd.DataFrame) -> list[Bar]:
    """Coverage with known ratios and on the default path, refusals, width, and the power and size of the test."""
    cells = table(results)
    of = {key: part.set_index("case") for key, part in cells.groupby(["method", "weights"])}
    found = []
    for weights in (KNOWN, BALANCE):
        for case, row in of["calibrated judge", weights].iterrows():
            low, high = _exact(row["coverage"], int(row["replications"]))
            found.append(
                Bar(
                    f"coverage of the calibrated judge, {weights}, {case}",
                    float(row["coverage"]),
                    f"99.9% interval {low:.3f} to {high:.3f} not wholly outside {LOW} to {HIGH}",
                    bool(low <= HIGH and high >= LOW),
                )
            )
    known = results[results["weights"] == KNOWN]
    raw, ours = of["judge as it is", KNOWN], of["calibrated judge", KNOWN]
    found.append(Bar.at_most(0.2, "highest coverage of the judge as it is", raw["coverage"].max()))
    found.append(Bar.at_most(0.1, "largest share of tables refused", refused(known).max()))
    narrower = (ours["width"] / of["no judge", KNOWN]["width"]).max()
    found.append(Bar.at_most(1.0, "widest interval, of that without a judge", narrower))
    confounded = [case for case in CASES if CASES[case].confounding]
    if (CJE, "") in of:
        coverage = of[CJE, ""].loc[confounded, "coverage"].max()
        found.append(Bar.at_most(0.8, f"highest coverage of {CJE} in confounded cells", coverage))
    long = [case for case in CASES if CASES[case].for_long]
    power = ours.loc[long, "not carried over"].min()
    found.append(Bar.at_least(0.5, "transport test rejects where the judge likes long letters", power))
    others = [case for case in CASES if not CASES[case].for_long]
    size = ours.loc[others, "not carried over"].max()
    found.append(Bar.at_most(0.1, "highest share of rejections of the transport test elsewhere", size))
    return found


def _exact(rate: float, count: int) -> tuple[float, float]:
    """99.9% interval of a rate (Clopper and Pearson 1934)."""
    hits = round(rate * count)
    low = float(beta.ppf(0.0005, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.9995, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def write_table(results: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(table(results), FORMATS), encoding="utf-8")
