"""From replications to the table and its bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy.stats import beta

from benchmarks.judge.letters import CASES
from benchmarks.judge.replication import CJE
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
    cells = table(results)
    of = {method: part.set_index("case") for method, part in cells.groupby("method")}
    ours = of["calibrated judge"]
    found = []
    for case, row in ours.iterrows():
        count = int(row["replications"])
        hits = round(row["coverage"] * count)
        low, high = float(beta.ppf(0.0005, hits, count - hits + 1)), float(beta.ppf(0.9995, hits + 1, count - hits))
        inside = hits == count or (low <= HIGH and high >= LOW)
        found.append(
            Bar(
                f"coverage of the calibrated judge, {case}",
                float(row["coverage"]),
                f"99.9% interval {low:.3f} to {high if hits < count else 1.0:.3f} not wholly outside {LOW} to {HIGH}",
                bool(inside and (hits < count or low <= HIGH)),
            )
        )
    found.append(Bar.at_most(0.2, "highest coverage of the judge as it is", of["judge as it is"]["coverage"].max()))
    found.append(Bar.at_most(0.1, "largest share of tables refused", refused(results).max()))
    confounded = [case for case in CASES if CASES[case].confounding]
    if CJE in of:
        coverage = of[CJE].loc[confounded, "coverage"].max()
        found.append(Bar.at_most(0.8, f"highest coverage of {CJE} in confounded cells", coverage))
    long = [case for case in CASES if CASES[case].for_long]
    power = ours.loc[long, "not carried over"].min()
    found.append(Bar.at_least(0.5, "transport test rejects where the judge likes long letters", power))
    others = [case for case in CASES if not CASES[case].for_long]
    size = ours.loc[others, "not carried over"].max()
    found.append(Bar.at_most(0.1, "highest share of rejections of the transport test elsewhere", size))
    return found


def write_table(results: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(table(results), FORMATS), encoding="utf-8")
