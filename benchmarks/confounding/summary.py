"""From cells to tidy frames, and from those to the table and the bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as student

from benchmarks.confounding.catalogue import NAIVE
from benchmarks.confounding.cells import Cell, Store
from benchmarks.confounding.grading import COMMON_KL, FAR_KL
from benchmarks.confounding.parts import FAILURES, REVERSING
from benchmarks.output import Bar

KEY = ["part", "world", "strength", "n", "method"]
ENOUGH = 0.8
"""Share of the achievable gain from which a run counts as a success."""
NOTHING = 0.1
"""Share up to which a method gains next to nothing."""
IMBALANCED = 2.0
"""Correlation of readers and texts after weighting, over what chance shows, from which a run is warned."""
FRAGILE = 0.1
"""Robustness value (of the interval) below which a run is warned."""

REACHED = ("reached", "reached texts", "settings")
"""Parts whose policies are what a user is left with: the default's own choice, or a method's own end."""
OF_ORACLE = {2000: 0.75, 8000: 0.85}
"""Share of the oracle's gain at its far point that the default must reach, by rows."""
OF_OTHERS = 0.9
"""Share of the best other method's gain that it must reach where confounding is none or mild."""
MILD = (0.0, 0.35)
OF_CPO = 0.95
"""Share of the gain of `cpo` that it must reach on real texts without confounding."""
LOSSES = 0.025
"""Rate of true losses that is allowed for."""

TRUTH = {"run": "gain", "all": "gain_all"}
"""The true gain that an interval is for: given the world's texts, or of all texts that policy and reference write."""


def results_frames(cells: Sequence[Cell], store: Store) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row a cell, and one row a point of each cell's frontier."""
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for cell in cells:
        kept = store.read(cell)
        evaluation = {
            f"{prefix}_{name}": value
            for prefix, found in (("run", "evaluation"), ("all", "evaluation_all_texts"))
            for name, value in kept.get(found, {}).items()
        }
        plain = {name: value for name, value in kept.items() if not isinstance(value, dict | list)}
        rows.append({**cell.columns(), **plain, **evaluation})
        points += [{**cell.columns(), **point} for point in kept.get("frontier", [])]
    results = pd.DataFrame(rows)
    if "gain" in results:
        own_choice = results["part"].isin(REACHED)
        results["reached_gain"], results["reached_kl"] = (
            results["gain"].where(own_choice),
            results["kl"].where(own_choice),
        )
    for name in ("error", "run_error", "run_thin_overlap", "run_nuisance_failed"):
        results[name] = results.get(name)
    for name in ("run_estimate", "all_estimate", "gain_all", "gain_far"):  # some parts have none of them
        results[name] = results.get(name, np.nan)
    return results, pd.DataFrame(points)


def over_seeds(results: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over seeds of a column for each method in each world, with its 95% t interval and standard deviation."""
    grouped = results.groupby(KEY, sort=False, dropna=False)[column]
    mean, sd, seeds = grouped.mean(), grouped.std(), grouped.count()
    half = student.ppf(0.975, np.maximum(seeds - 1, 1)) * sd / np.sqrt(seeds)
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "sd": sd, "seeds": seeds}).reset_index()


def bars(results: pd.DataFrame) -> list[Bar]:
    """What the benchmark must show; a part that was not run has no bars, and neither has a method."""
    return [
        *_strength_bars(results),
        *_paper_bars(results),
        *_grid_bars(results),
        *_coverage_bars(results),
        *_failure_bars(results),
        *_reached_bars(results),
        *_real_texts_bars(results),
    ]


def _strength_bars(results: pd.DataFrame) -> list[Bar]:
    part = results[results["part"] == "strength"]
    found = []
    gain = over_seeds(part, "gain_common")
    plain = gain[(gain["strength"] == 0) & (gain["method"] != "oracle")].set_index("method")
    if "dr_cpo" in plain.index:
        winner = plain.loc[plain["mean"].idxmax()]
        name = (
            f"no confounding: mean gain of dr_cpo minus the lower limit of the winner's ({winner.name}), outcome units"
        )
        found.append(Bar.at_least(0, name, plain.loc["dr_cpo", "mean"] - winner["low"]))
    share = over_seeds(part, "gain_share_common")
    reversing = share[share["strength"] == REVERSING].set_index("method")["mean"]
    if len(reversing):
        naive = reversing[reversing.index.isin(NAIVE)]
        if len(naive):
            name = f"sign-reversing: largest mean gain share of a naive method ({naive.idxmax()})"
            found.append(Bar.at_most(NOTHING, name, naive.max()))
        own = over_seeds(part, "gain_share")
        for value in own[(own["strength"] == REVERSING) & (own["method"] == "dr_cpo")]["mean"]:
            found.append(Bar.at_least(ENOUGH, "sign-reversing: mean gain share of dr_cpo at its own KL", value))
            found.append(Bar.at_least(0.9, "the same, as aimed for", value))
    return found


def _paper_bars(results: pd.DataFrame) -> list[Bar]:
    share = over_seeds(results[results["part"] == "paper"], "gain_share_common").set_index(["world", "method"])
    if not {"dr_cpo", "oo_rlhf", "cpo_naive"}.issubset(share.index.get_level_values("method")):
        return []
    led, honest = share.xs("contaminated outcome model"), share.xs("honest outcome model")
    return [
        Bar.at_most(NOTHING, "contaminated outcome model: mean gain share of oo_rlhf", led.loc["oo_rlhf", "mean"]),
        Bar.at_least(ENOUGH, "contaminated outcome model: mean gain share of dr_cpo", led.loc["dr_cpo", "mean"]),
        Bar.at_most(
            1.0,
            "honest outcome model: sd over seeds of the gain share of dr_cpo over that of cpo on y",
            honest.loc["dr_cpo", "sd"] / honest.loc["cpo_naive", "sd"],
        ),
    ]


def _grid_bars(results: pd.DataFrame) -> list[Bar]:
    share = over_seeds(results[results["part"] == "grid"], "gain_share").set_index("method")["mean"]
    if share.empty:
        return []
    both = "outcome wrong, assignment wrong"
    return [
        Bar.at_least(ENOUGH, "doubly robust grid: lowest mean gain share, either model right", share.drop(both).min()),
        Bar.at_most(NOTHING, "doubly robust grid: mean gain share, both wrong", share[both]),
    ]


def _coverage_bars(results: pd.DataFrame) -> list[Bar]:
    """Of intervals for the policy's gain, on rows that were drawn apart from those it was tuned on."""
    runs = results[(results["part"] == "strength") & (results["method"] == "dr_cpo") & results["run_estimate"].notna()]
    if runs.empty:
        return []
    limit = round(0.95 - 1.96 * np.sqrt(0.95 * 0.05 / len(runs)), 3)
    name = f"coverage of dr_cpo's own interval over {len(runs)} runs"
    return [
        Bar.at_least(limit, f"{name}, of all texts that are written, for their true gain", covers(runs, "all").mean()),
        Bar.at_least(limit, f"{name}, given the world's texts, for the true gain given them", covers(runs).mean()),
    ]


def covers(runs: pd.DataFrame, texts: str = "run") -> pd.Series:
    """Whether the 95% interval holds the true gain that it is for: given the world's texts ("run"), or of "all"."""
    gain = runs[TRUTH[texts]]
    return (runs[f"{texts}_ci_low"] <= gain) & (gain <= runs[f"{texts}_ci_high"])


def warned(runs: pd.DataFrame) -> pd.Series:
    """Whether the run's own evidence warned: thin overlap, a nuisance that failed, readers out of balance, or a
    conclusion that is easily undone."""
    return (
        runs["run_thin_overlap"].eq(True)
        | runs["run_nuisance_failed"].eq(True)
        | runs["run_error"].notna()
        | (runs["run_imbalance"] > IMBALANCED)
        | (runs["run_robustness_value_interval"] < FRAGILE)
    )


def _failure_bars(results: pd.DataFrame) -> list[Bar]:
    found = []
    for label, runs in failing(results).items():
        if len(runs):
            name = f"{label}: share of the {len(runs)} runs that failed which were warned"
            found.append(Bar.at_least(0.9, name, warned(runs).mean()))
    return found


def _reached_bars(results: pd.DataFrame) -> list[Bar]:
    """Of the default's own choice: how much of what there was, how often a loss, and whether its interval holds."""
    part = results[results["part"] == "reached"]
    runs = part[part["method"] == "dr_cpo"]
    if runs.empty:
        return []
    found = []
    for (n, strength), rows in part.groupby(["n", "strength"]):
        gain = rows.groupby("method")["reached_gain"].mean()
        seeds, where = int((rows["method"] == "dr_cpo").sum()), f"{n} rows, confounding {strength:g}"
        if "oracle" in gain and n in OF_ORACLE:
            share = gain["dr_cpo"] / rows.loc[rows["method"] == "oracle", "gain_far"].mean()
            name = f"{where}: reached gain of dr_cpo over the oracle's at {FAR_KL} nats ({seeds} seeds)"
            found.append(Bar.at_least(OF_ORACLE[n], name, share))
        others = gain.drop(["dr_cpo", "oracle"], errors="ignore")
        if strength in MILD and len(others):
            name = f"{where}: reached gain of dr_cpo over the best other method's ({others.idxmax()}, {seeds} seeds)"
            found.append(Bar.at_least(OF_OTHERS, name, gain["dr_cpo"] / others.max()))
    lost = int((runs["reached_gain"] < 0).sum())
    name = f"reached: p-value of {lost} true losses in {len(runs)} runs of dr_cpo against a rate of {LOSSES:.1%}"
    found.append(Bar.at_least(0.05, name, binomtest(lost, len(runs), LOSSES, alternative="greater").pvalue))
    valued = runs[runs["all_estimate"].notna()]
    if len(valued):
        held = int(covers(valued, "all").sum())
        name = f"reached: p-value of {held} intervals of dr_cpo that cover in {len(valued)} runs against a rate of 95%"
        found.append(Bar.at_least(0.05, name, binomtest(held, len(valued), 0.95, alternative="less").pvalue))
    return found


def _real_texts_bars(results: pd.DataFrame) -> list[Bar]:
    """Where nothing is confounded, what the default costs against an objective that adjusts for less."""
    part = results[results["part"] == "reached texts"]
    gain = part.pivot_table(index="seed", columns="method", values="reached_gain")
    if not {"dr_cpo", "cpo"} <= set(gain):
        return []
    both = gain[["dr_cpo", "cpo"]].dropna().mean()
    name = f"real texts, no confounding: reached gain of dr_cpo over that of cpo ({len(gain)} seeds)"
    return [Bar.at_least(OF_CPO, name, both["dr_cpo"] / both["cpo"])]


def failing(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Runs of dr_cpo in each failure that gained less than enough, or whose interval misses the truth."""
    settings = {
        label: results[(results["part"] == "failures") & (results["world"] == label) & (results["method"] == "dr_cpo")]
        for label in FAILURES
    }
    wrong = (results["part"] == "grid") & (results["method"] == "outcome wrong, assignment wrong")
    settings["both models wrong"] = results[wrong]
    return {label: runs[(runs["gain_share"] < ENOUGH) | ~covers(runs)] for label, runs in settings.items() if len(runs)}


def markdown(results: pd.DataFrame, found: Sequence[Bar]) -> str:
    """Return bars and tables as Markdown."""
    lines = ["## Bars", "", "| | bar | value | threshold |", "|---|---|---|---|"]
    lines += [f"| {'holds' if b.holds else '**fails**'} | {b.name} | {b.value:.3g} | {b.threshold} |" for b in found]
    for part, rows in results.groupby("part", sort=False):
        lines += ["", f"## {part}", "", *(_reached_table(rows) if part in REACHED else _table(rows))]
    evaluated = results[results["run_estimate"].notna()] if "run_estimate" in results else results.iloc[:0]
    if len(evaluated):
        lines += ["", "## The runs' own intervals", "", *_coverage_table(evaluated)]
    errors = results[results["error"].notna()]
    if len(errors):
        lines += ["", "## Cells that failed", ""]
        lines += [f"* {row.method}, {row.world}, strength {row.strength:g}, seed {row.seed}: {row.error}" for row in
                  errors.itertuples()]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(rows: pd.DataFrame) -> list[str]:
    """Mean over seeds with the half width of its 95% interval."""
    lines = [
        f"| world | strength | n | method | gain at {COMMON_KL} nats | share of best | own KL | gain at own KL "
        "| share of best | mass | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    columns = ["gain_common", "gain_share_common", "kl", "gain", "gain_share", "mass", "seconds"]
    tables = {name: over_seeds(rows, name) for name in columns}
    for i, row in tables["gain_common"].iterrows():
        cells = {name: table.loc[i] for name, table in tables.items()}

        def interval(name: str, cells: dict[str, Any] = cells) -> str:
            return f"{cells[name]['mean']:+.3f} ± {cells[name]['high'] - cells[name]['mean']:.3f}"

        lines.append(
            f"| {row['world']} | {row['strength']:g} | {row['n']} | `{row['method']}` | {interval('gain_common')} "
            f"| {interval('gain_share_common')} | {cells['kl']['mean']:.2f} | {interval('gain')} "
            f"| {interval('gain_share')} | {cells['mass']['mean']:.2f} | {cells['seconds']['mean']:.1f} |"
        )
    return lines


def _reached_table(rows: pd.DataFrame) -> list[str]:
    """Mean over seeds with its standard deviation; what runs that stay at the reference gain is 0."""
    lines = [
        "| strength | n | method | seeds | reached gain | sd | of all texts | KL "
        f"| share of the oracle's at {FAR_KL} nats | mass | losses | intervals that cover | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (strength, n, method), own in rows.groupby(["strength", "n", "method"], sort=False):
        seen = rows[(rows["strength"] == strength) & (rows["n"] == n) & rows["seed"].isin(own["seed"])]
        far = seen.loc[seen["method"] == "oracle", "gain_far"].mean()
        gain, of_all = own["reached_gain"], own["gain_all"].mean()
        valued = own[own["all_estimate"].notna()]
        covered = f"{int(covers(valued, 'all').sum())} of {len(valued)}" if len(valued) else ""
        cells = [
            f"{strength:g}",
            f"{n}",
            f"`{method}`",
            f"{gain.count()}",
            f"{gain.mean():+.3f}",
            "" if gain.count() < 2 else f"{gain.std():.3f}",
            "" if np.isnan(of_all) else f"{of_all:+.3f}",
            f"{own['reached_kl'].mean():.2f}",
            f"{gain.mean() / far:.2f}",
            f"{own['mass'].mean():.2f}",
            f"{int((gain < 0).sum())}",
            covered,
            f"{own['seconds'].mean():.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _coverage_table(runs: pd.DataFrame) -> list[str]:
    lines = [
        "| part | world | strength | method | runs | coverage | of all texts | mean error | of all texts "
        "| Monte Carlo se of their truth | mean se | thin overlap | imbalance | robustness value | warned |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ["part", "world", "strength", "method"]
    for (part, world, strength, method), rows in runs.groupby(keys, sort=False, dropna=False):
        error, error_all = ((rows[f"{texts}_estimate"] - rows[gain]).mean() for texts, gain in TRUTH.items())
        lines.append(
            f"| {part} | {world} | {strength:g} | `{method}` | {len(rows)} | {covers(rows).mean():.2f} "
            f"| {covers(rows, 'all').mean():.2f} | {error:+.3f} | {error_all:+.3f} "
            f"| {rows['gain_all_se'].mean():.3f} | {rows['run_se'].mean():.3f} "
            f"| {rows['run_thin_overlap'].eq(True).mean():.0%} | {rows['run_imbalance'].mean():.2f} "
            f"| {rows['run_robustness_value_interval'].mean():.2f} | {warned(rows).mean():.0%} |"
        )
    return lines
