"""From replications to the table, and from the table to the bars."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.output import Bar
from benchmarks.running import replications_table

CELL = ["design", "outcome_model", "assignment_model", "n", "estimator"]
ORDER = [
    *("randomised", "confounded"),
    *("right", "wrong", "none"),
    *("naive", "dm", "ipw", "clipped_ipw", "snipw", "dr", "sndr", "switch_dr", "dr_os"),
]


def ordered(results: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows as the table shows them."""
    rank = {name: i for i, name in enumerate(ORDER)}
    return results.sort_values([*CELL, "replication"], key=lambda column: column.replace(rank), ignore_index=True)


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: bias, sd, rmse, coverage of the 95% interval and its mean width, outcome units."""
    return replications_table(results, CELL)


def bars(cells: pd.DataFrame) -> list[Bar]:
    """What the issue asks of the table; values are the worst over the cells that a bar speaks of."""
    right_outcome, right_assignment = cells["outcome_model"] == "right", cells["assignment_model"] == "right"
    both, either = right_outcome & right_assignment, right_outcome | right_assignment
    neither = ~right_outcome & (cells["assignment_model"] == "wrong")
    confounded = cells["design"] == "confounded"
    robust = cells["estimator"].isin(["dr", "sndr"])
    dr, ipw = cells["estimator"] == "dr", cells["estimator"] == "ipw"

    lowest, highest = cells[robust & both]["coverage"].min(), cells[robust & both]["coverage"].max()
    one_right = cells[robust & either & ~both]["coverage"].min()
    naive = cells[confounded & (cells["estimator"] == "naive")].set_index("n")["bias"].abs()
    of_dr = cells[confounded & dr & either]
    bias = (of_dr["bias"].abs() / of_dr["n"].map(naive)).max()
    of_ipw = cells[confounded & ipw].set_index(["outcome_model", "assignment_model", "n"])["rmse"]
    plain = [row.rmse / of_ipw["none", row.assignment_model, row.n] for row in of_dr.itertuples()]
    same = [row.rmse / of_ipw[row.outcome_model, row.assignment_model, row.n] for row in of_dr.itertuples()]
    slopes = [
        np.polyfit(np.log(cell["n"]), np.log(cell["rmse"]), 1)[0]
        for _, cell in cells[dr & either].groupby(["design", "outcome_model", "assignment_model"])
    ]
    largest = cells["n"].max()
    failed = cells[confounded & neither & (cells["n"] == largest)]["coverage"].max()
    return [
        Bar.at_least(0.93, "lowest coverage of dr and sndr, both models right", lowest),
        Bar.at_most(0.97, "highest coverage of dr and sndr, both models right", highest),
        Bar.at_least(0.90, "lowest coverage of dr and sndr, one model right", one_right),
        Bar.at_most(0.05, "largest |bias| of dr over |naive bias|, either right, confounded", bias),
        Bar.at_most(0.5, "largest RMSE of dr over that of ipw (xi = s y), either right, confounded", max(plain)),
        Bar.at_most(0.5, "largest RMSE of dr over that of ipw of the same xi, either right, confounded", max(same)),
        Bar.at_least(-0.6, "steepest slope of log RMSE of dr in log n, either right", min(slopes)),
        Bar.at_most(-0.4, "flattest slope of log RMSE of dr in log n, either right", max(slopes)),
        Bar.at_most(0.9, f"highest coverage of anything, both models wrong, confounded, n = {largest}", failed),
    ]


def markdown(cells: pd.DataFrame) -> str:
    """Return the table as Markdown, one section a design and pair of models."""
    lines = []
    for (design, outcome, assignment), part in cells.groupby(CELL[:3], sort=False):
        lines += ["", f"### {design}, outcome model {outcome}, assignment model {assignment}", ""]
        lines += ["| n | estimator | bias | sd | RMSE | coverage | width |", "|---|---|---|---|---|---|---|"]
        lines += [
            f"| {row.n} | `{row.estimator}` | {row.bias:+.4f} | {row.sd:.4f} | {row.rmse:.4f} | {row.coverage:.3f} "
            f"| {row.width:.3f} |"
            for row in part.itertuples()
        ]
    return "\n".join(lines).strip() + "\n"
