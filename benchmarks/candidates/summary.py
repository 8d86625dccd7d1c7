"""From replications to the table and its bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.output import Bar
from benchmarks.running import markdown

FORMATS = {
    "method": "", "tables": "d", "gain": ".5f", "first": ".5f", "share": ".3f", "kl": ".2f", "coverage": ".3f",
    "bias": "+.6f", "sd": ".6f", "se": ".6f", "seconds": ".1f",
}  # fmt: skip


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row a method: means over the tables; ``share`` is the gain over that of the best candidates, same tables."""
    best = results[results["method"] == "best"].set_index("seed")["gain"]
    rows = []
    for method, own in results.groupby("method", sort=True):
        error = own["estimate"] - own["gain"]
        covers = (own["ci_low"] <= own["gain"]) & (own["gain"] <= own["ci_high"])
        rows.append(
            {
                "method": method,
                "tables": len(own),
                "gain": own["gain"].mean(),
                "first": own["first"].mean(),
                "share": own["gain"].mean() / best.loc[own["seed"]].mean(),
                "kl": own["kl"].mean(),
                "coverage": covers.mean() if own["estimate"].notna().all() else float("nan"),
                "bias": error.mean(),
                "sd": error.std(),
                "se": (own["ci_high"] - own["ci_low"]).mean() / (2 * 1.96),
                "seconds": own["seconds"].mean(),
            }
        )
    return pd.DataFrame(rows)


def bars(results: pd.DataFrame) -> list[Bar]:
    """The policy is compared with the ridge on the same tables; of 100 covering 95%, fewer than 89 cover in 1%."""
    cells = table(results).set_index("method")
    seconds = results.loc[results["method"] == "default", "seconds"].max()
    return [
        Bar.at_least(
            1.0, "gain of the policy over that of the ridge", cells["gain"]["greedy"] / cells["gain"]["ridge"]
        ),
        Bar.at_least(0.89, "coverage of the policy's interval", cells["coverage"]["greedy"]),
        Bar.at_most(60.0, "largest CPU seconds of a run with all defaults", seconds),
    ]


def write_table(results: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(table(results), FORMATS).replace("+nan", "–").replace("nan", "–"), encoding="utf-8")
