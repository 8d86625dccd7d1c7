"""From replications to the table, its bars and its plot."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px
from scipy.stats import binomtest

from benchmarks.coverage.generators import GENERATORS, hidden
from benchmarks.coverage.replication import HEADLINE
from benchmarks.output import Bar
from benchmarks.running import markdown, replications_table
from causalopt.estimators.names import FOR_ADAPTIVE_LOGS

CELL = ["generator", "policy", "estimator"]
TABLE = ["generator", "policy", "replication"]
RIVALS = ("sndr", "dr", "mdr")
MARKED = 0.1
"""Share of warned tables above which a generator counts as marked."""
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "truth": "+.3f",
    "bias": "+.3f",
    "sd": ".3f",
    "se": ".3f",
    "rmse": ".3f",
    "coverage": ".3f",
    "relative": ".2f",
    "warned": ".2f",
    "better": ".3f",
    "replications": "",
}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each generator, policy and estimator.

    ``relative`` is the median width of the interval over that of the estimator that knows m, s and q, ``warned`` the
    share of tables with a warning before the verdict, ``better`` that of verdicts that the policy is better.
    """
    width = results.assign(width=results["ci_high"] - results["ci_low"])
    knowing = width[width["estimator"] == "all-knowing"].set_index(TABLE)["width"]
    width["relative"] = width["width"] / knowing.reindex(pd.MultiIndex.from_frame(width[TABLE])).to_numpy()
    grouped = width.groupby(CELL, sort=False)
    means = grouped[["truth", "se", "warned", "better"]].mean()
    means["relative"] = grouped["relative"].median()
    found = replications_table(results, CELL).merge(means.reset_index(), on=CELL)
    found["headline"] = (found["estimator"] == HEADLINE) & (found["generator"] != "bandit")
    found.loc[found["estimator"].isin(FOR_ADAPTIVE_LOGS), "headline"] = True
    return found


def bars(cells: pd.DataFrame) -> list[Bar]:
    judged = cells[~cells["generator"].isin([name for name, one in GENERATORS.items() if one.law is hidden])]
    ours = judged[judged["headline"]]
    warned = ours.groupby("generator", sort=False)["warned"].mean()
    quiet = ours[ours["warned"] <= MARKED]
    covered, of = (quiet["coverage"] * quiet["replications"]).sum(), quiet["replications"].sum()
    unmarked = [name for name in warned.index if GENERATORS[name].unmarked]
    nothing = ours[ours["policy"].isin(["no gain", "loss"])]
    claimed = round((nothing["better"] * nothing["replications"]).sum())
    trials = int(nothing["replications"].sum())
    found = [
        Bar.at_most(0, "cells whose coverage is outside of 0.92 to 0.98", _outside(ours)),
        Bar("coverage over all unwarned cells", covered / of, "0.935 to 0.965", bool(0.935 <= covered / of <= 0.965)),
        Bar.at_least(10, "generators without a mark", int((warned <= MARKED).sum())),
        Bar.at_least(0.01, f"p-value of {claimed} gains claimed of {trials} where there is none, for 2.5%",
                     binomtest(claimed, trials, 0.025, alternative="greater").pvalue),
        Bar.at_most(2.0, "median width over that of an estimator that knows the law", quiet["relative"].median()),
        Bar.at_least(10, "generators with the smallest RMSE of four estimators", _best(judged)),
    ]  # fmt: skip
    if unmarked:
        most = warned[unmarked].max()
        found.append(Bar.at_most(MARKED, "largest share of warned tables where none is due", most))
    bounds = cells[cells["estimator"] == "sensitivity bounds"]
    if len(bounds):
        coverage = (bounds["coverage"] * bounds["replications"]).sum() / bounds["replications"].sum()
        found.append(Bar.at_least(0.95, "coverage of the sensitivity bounds at the true strength", coverage))
    return found


def _outside(cells: pd.DataFrame) -> int:
    """Number of cells for whose coverage a 99.9% interval lies wholly outside of 0.92 to 0.98."""
    outside = 0
    for coverage, replications in zip(cells["coverage"], cells["replications"], strict=True):
        interval = binomtest(round(coverage * replications), int(replications)).proportion_ci(0.999)
        outside += interval.high < 0.92 or interval.low > 0.98
    return outside


def _best(cells: pd.DataFrame) -> int:
    """Number of generators where the headline's RMSE over all policies is at most that of each rival."""
    square = cells.assign(square=cells["rmse"] ** 2)
    ours = square[square["headline"]].groupby("generator")["square"].mean()
    rivals = square[square["estimator"].isin(RIVALS)].pivot_table("square", "generator", "estimator").min(axis=1)
    return int((ours <= rivals.reindex(ours.index)).sum())


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells, FORMATS), encoding="utf-8")


def write_plot(results: pd.DataFrame, path: Path) -> None:
    """Errors of every replication, in standard errors."""
    frame = results[results["estimator"].isin([HEADLINE, *FOR_ADAPTIVE_LOGS, "all-knowing"])]
    frame = frame.assign(z=(frame["estimate"] - frame["truth"]) / frame["se"])
    figure = px.box(frame, x="generator", y="z", color="estimator", facet_row="policy", height=1200,
                    title="Estimate minus truth, in standard errors")  # fmt: skip
    figure.update_yaxes(range=[-8, 8])
    figure.write_html(path, include_plotlyjs=True)
