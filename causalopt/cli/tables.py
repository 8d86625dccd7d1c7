"""Tables that the command line prints."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from causalopt.backends.contracts import CandidateBackend, TextTokens
from causalopt.cli.console import escaped
from causalopt.data.choice_sets import ChoiceSets
from causalopt.data.conversations import SENTENCE
from causalopt.data.covariates import MISSING
from causalopt.progress import duration
from causalopt.run.expectation import Expectation
from causalopt.run.memory import estimated_memory
from causalopt.run.plan import Plan
from causalopt.run.stages import StageRecord

LONGEST_SETTING = 40
"""Characters of a setting that is shown without ``--verbose``."""
LONGEST_SAID = 100
"""Characters of a system prompt that is shown."""
MOST_SHOWN = 5
"""Levels of a category that are named."""
SOURCES = {
    "logged": "log-probabilities that were logged",
    "reference": "the reference policy, itself an estimate",
    "frequency": "the share of each text among the rows",
    "uniform": "the texts of the table, all equally probable",
    "embedding": "a ratio estimated in embedding space",
}


def summary_table(metrics: dict[str, Any]) -> Table:
    """Values of reference, policy and difference with their intervals, and the exact true values in a world."""
    truth = metrics.get("truth")
    level = f"{100 * metrics['level']:g}% interval"
    table = Table(
        "", metrics["estimator"], level, *(["truth"] if truth else []), title=escaped(f"Value ({metrics['outcome']})")
    )
    for quantity in ("reference", "policy", "difference"):
        value = metrics["value"][quantity]
        interval = f"{value['ci_low']:.4g} to {value['ci_high']:.4g}"
        row = [quantity, f"{value['estimate']:.4g}", interval]
        table.add_row(*row, *([f"{truth[quantity]:.4g}"] if truth else []))
    for name, other in metrics.get("comparisons", {}).items():
        value = other["value"]["difference"]
        row = [f"{name}: difference", f"{value['estimate']:.4g}", f"{value['ci_low']:.4g} to {value['ci_high']:.4g}"]
        table.add_row(*row, *([f"{other['truth']['difference']:.4g}"] if other["truth"] else []))
    overlap = metrics["overlap"]
    caption = f"effective {overlap['unit']}: {overlap['ess']:.0f} of {overlap['clusters']}"
    if metrics["kl"] is not None:
        caption += f", KL to the reference {metrics['kl']:.2f} nats"
    if truth and "gain_share" in truth:
        caption += f", {100 * truth['gain_share']:.0f}% of the achievable gain at that KL"
    if "policies" in metrics:
        caption += "; reference: {reference}, policy: {policy}".format(**metrics["policies"])
    table.caption = escaped(caption)
    return table


def constraint_table(metrics: dict[str, Any]) -> Table | None:
    """Values of the constrained outcomes, and whether the bounds hold; None without constraints."""
    found = metrics.get("constraints")
    if not found:
        return None
    level = f"{100 * metrics['level']:g}% interval"
    table = Table("bound", "", metrics["estimator"], level, "holds", title="Are the bounds kept?")
    for one in found:
        side, bound = ("at most", one["at_most"]) if one["at_least"] is None else ("at least", one["at_least"])
        for i, who in enumerate(("policy", "reference")):
            value = one[who]
            numbers = ("–", "–")
            if value is not None:
                numbers = f"{value['estimate']:.4g}", f"{value['ci_low']:.4g} to {value['ci_high']:.4g}"
            holds = {True: "yes", False: "no", None: "unclear"}[one["holds"]] if who == "policy" else ""
            table.add_row("" if i else escaped(f"{one['outcome']} {side} {bound:g}"), who, *numbers, holds)
    return table


def metrics_tables(metrics: dict[str, Any]) -> list[Table]:
    """Return the detailed tables of a run or an evaluation, in the order in which they are read."""
    found = [summary_table(metrics), evidence_table(metrics), bounds_table(metrics)]
    return [table for table in found if table is not None]


def stage_table(stages: Sequence[StageRecord]) -> Table | None:
    """Show what each stage of a run cost; None if nothing is known of them."""
    if not stages:
        return None
    table = Table("stage", "time", "peak memory", "", title="Stages")
    for one in stages:
        memory = f"{one.peak_memory_mb / 1024:.1f} GiB"
        table.add_row(escaped(one.name), duration(one.seconds), memory, "reused" if one.reused else "")
    return table


def group_table(metrics: dict[str, Any]) -> Table | None:
    """Gain by group of readers with simultaneous intervals; None if it was not asked for, or there is no group."""
    found = metrics.get("groups")
    if not found or not found["gains"]:
        return None
    level = f"{100 * found['level']:g}% simultaneous interval"
    table = Table(
        "readers", "rows", "clusters", "difference", level, "", title=escaped(f"For whom ({metrics['outcome']})")
    )
    for row in found["gains"]:
        numbers = ("–", "–")
        if row["reason"] is None:
            numbers = f"{row['gain']:+.4g}", f"{row['ci_low']:+.4g} to {row['ci_high']:+.4g}"
        remarks = [row["reason"]] if row["reason"] is not None else []
        if row["outlook"] != "unclear":
            remarks.append(row["outlook"])
        if row["thin"] and row["reason"] is None:
            remarks.append("thin overlap")
        table.add_row(
            escaped(row["group"]), f"{row['rows']:,}", f"{row['clusters']:,}", *numbers, escaped(", ".join(remarks))
        )
    captions = list(found["notes"])
    if found["heterogeneity_p_value"] is not None:
        captions.insert(0, f"equal gains in all groups: p = {found['heterogeneity_p_value']:.3f}")
    table.caption = escaped("; ".join(captions))
    return table


def frontier_table(found: dict[str, Any]) -> Table:
    """Gain against KL of the policies on a path, with their simultaneous band."""
    band = f"{100 * found['level']:g}% band"
    table = Table("place", "KL, nats", "gain", band, "bound", "effective", "outside", "", title="How far to go")
    penalised = "bounds" in found
    if penalised:
        table.add_column("fit")
    for point in found["points"]:
        numbers = ("–", "–", "–")
        if point["gain"] is not None:
            interval = f"{point['ci_low']:+.4g} to {point['ci_high']:+.4g}"
            numbers = f"{point['gain']:+.4g}", interval, f"{point['bound']:+.4g}"
        outside = "–" if point["outside"] is None else f"{point['outside']:.0%}"
        remark = "chosen" if point["chosen"] else point["barred"] or ""
        table.add_row(
            f"{point['factor']:g}",
            f"{point['kl']:.3g}",
            *numbers,
            f"{point['ess']:.0f}",
            outside,
            escaped(remark),
            *([_fit_of(point)] if penalised else []),
        )
    table.caption = f"0 is the reference, 1 the end of the fit; {found['rows']:,} rows set apart"
    return table


def _fit_of(point: dict[str, Any]) -> str:
    return "not penalised" if point["correlation"] is None else f"correlation {point['correlation']:g}"


def evidence_table(metrics: dict[str, Any]) -> Table:
    """List the difference by every estimator, and the diagnostics that support or contradict it."""
    evidence = metrics["evidence"]
    table = Table("evidence", "", title="Can the data answer that?")
    table.add_row("q, the distribution of the logged texts", SOURCES[metrics["behavior_policy"]])
    for found in metrics["estimates"]:
        if found["quantity"] == "difference":
            table.add_row(f"difference by {found['estimator']}", _interval(found))
    if evidence["robustness_value"] is not None:
        table.add_row(
            "robustness value",
            f"{100 * evidence['robustness_value']:.1f}% ({100 * evidence['robustness_value_interval']:.1f}% for the "
            "interval) of the unexplained variation",
        )
    if evidence["drift"] is not None:
        drifting = ", ".join(evidence["drift"]["drifting"]) or "none seen"
        table.add_row("drift from earlier to later rows", drifting)
    for one in evidence["benchmarks"]:
        table.add_row(
            escaped(f"as strong as {one['covariate']}"),
            f"{100 * one['outcome_share']:.1f}% of the outcome, {100 * one['assignment_share']:.1f}% of the "
            f"assignment; without it {one['change']:+.3g}",
        )
    if evidence["nonresponse"] is not None:
        table.add_row("those who do not respond", _nonresponse(evidence["nonresponse"]))
    if evidence["placebo_p_value"] is not None:
        table.add_row("placebo: texts reassigned at random", f"p = {evidence['placebo_p_value']:.3f}")
    if evidence["placebo_outcome"] is not None:
        placebo = evidence["placebo_outcome"]
        table.add_row("placebo outcome: difference", f"{_interval(placebo)}, p = {placebo['p_value']:.3f}")
    if evidence["balance"]:
        worst = max(evidence["balance"], key=lambda row: row["before"])
        table.add_row(
            escaped(f"balance of {worst['covariate']}"),
            f"correlation with the text {worst['before']:.3f} before, {worst['after']:.3f} after weighting "
            f"({worst['chance_after']:.3f} by chance)",
        )
    if evidence["calibration"]:
        worst = max(evidence["calibration"], key=lambda row: abs(row["statistic"]))
        table.add_row(
            "calibration of the weights", escaped(f"at worst {worst['statistic']:+.1f} se: {worst['moment']}")
        )
    return table


def bounds_table(metrics: dict[str, Any]) -> Table | None:
    """Bounds of the difference under hidden confounding of several strengths; None if there are none."""
    found = metrics["evidence"]["bounds"]
    if not found or not metrics.get("data", {}).get("covariates"):
        return None
    level = f"with {100 * metrics['level']:g}% interval"
    table = Table(
        "a hidden confounder", "outcome", "assignment", "difference", level, title="What if something is not recorded?"
    )
    for row in found:
        table.add_row(
            escaped(row["confounder"]),
            f"{100 * row['outcome_share']:.1f}%",
            f"{100 * row['assignment_share']:.1f}%",
            f"{row['low']:+.4g} to {row['high']:+.4g}",
            f"{row['ci_low']:+.4g} to {row['ci_high']:+.4g}",
        )
    table.caption = "shares of the unexplained variation of outcome and assignment that it would explain"
    return table


def _nonresponse(found: dict[str, Any]) -> str:
    """Say how far they would have to differ from those who respond for the interval to contain zero."""
    points = [
        "at no size" if size is None else f"{size:+.3g} ({size / found['outcome_sd']:+.2g} sd)"
        for size in (found["tipping_point"], found["worst_tipping_point"])
    ]
    return f"the interval contains zero if they are lower by {points[0]} throughout, {points[1]} at worst"


def _interval(found: dict[str, Any]) -> str:
    return f"{found['estimate']:.4g} ({found['ci_low']:.4g} to {found['ci_high']:.4g})"


def _kind(covariate: pd.Series) -> str:
    """Whether a covariate is numeric, with its range, or categorical, with its most frequent levels."""
    if pd.api.types.is_numeric_dtype(covariate):
        return f"a number, {covariate.min():.6g} to {covariate.max():.6g}"
    counts = covariate.fillna(MISSING).value_counts()
    named = ", ".join(map(str, counts.index[:MOST_SHOWN]))
    return f"{len(counts)} categories: {named}{', ...' if len(counts) > MOST_SHOWN else ''}"


def outlook_table(found: Expectation) -> Table:
    """Show what a run could show, and what each of its stages would cost."""
    table = Table("", "", show_header=False, title="What to expect")
    if found.tokens is not None:
        _plan_row(table, "tokens of a text", _in_tokens(found.tokens))
        if found.plan.train.prompts is not None:
            _plan_row(table, "prompts", _as_written(found.tokens))
    if found.kept is not None:
        _plan_row(
            table,
            "overlap between readers and texts",
            f"{found.kept:.0%} of the information is left once readers are comparable across texts (100%: the "
            "covariates do not predict the text)",
        )
    if found.explained is not None:
        _plan_row(table, "outcome explained", f"{max(found.explained, 0):.0%} of its variance, by a first model")
    power = found.power
    if power is not None:
        away = f"{power.kl:g} nats"
        _plan_row(table, f"effective {found.unit} at {away}", f"{power.effective_units:.0f} of {power.units:.0f}")
        _plan_row(table, f"standard error at {away}", f"{power.se:.3g}")
        _plan_row(table, "smallest gain, 80% power", f"{power.smallest_gain:.3g}")
        _plan_row(table, "rows for half of it", f"{found.rows_for_half:,}")
    for one in found.costs or ():
        _plan_row(table, one.name, f"{duration(one.seconds)}, {one.memory / 2**30:.1f} GiB")
    return table


def _in_tokens(tokens: TextTokens) -> str:
    middle, high = np.quantile(tokens.lengths, [0.5, 0.95])
    said = f"median {middle:.0f}, 95% up to {high:.0f}, longest {tokens.lengths.max()}, with the end"
    if tokens.limit is None:
        return f"{said}; the model is made to fit"
    cut = f"{tokens.cut:,} of {len(tokens.lengths):,} are cut" if tokens.cut else "none is cut"
    return f"{said} ({tokens.with_prompts.max()} with what stands before); the model reads {tokens.limit:,}: {cut}"


def _as_written(tokens: TextTokens) -> str:
    """Say whether the chat template is used, and with which system prompt."""
    if not tokens.chat_template:
        return "plain text: no chat template is used"
    if tokens.system_prompt is None:
        return "by the model's chat template, without a system prompt"
    whose = "which the template inserts by itself" if tokens.inserted else "that of backend.system_prompt"
    return (
        f"by the model's chat template, with the system prompt {shorten(tokens.system_prompt, LONGEST_SAID)!r}, {whose}"
    )


def _plan_row(table: Table, what: str, words: str) -> None:
    table.add_row(escaped(what), escaped(words))


def plan_table(plan: Plan, *, every_setting: bool = True) -> Table:
    """Show what a run would do; of the parts' settings only the short ones, unless ``every_setting`` is asked for."""
    table = Table("", "", show_header=False, title="Plan")
    data, config = plan.train, plan.config
    _plan_row(table, "data", str(data.source))
    _plan_row(table, "training rows", f"{len(data)} in {len(set(data.group))} groups")
    if plan.apart is not None:
        _plan_row(table, "rows set apart to choose how far to go", f"{len(plan.apart)}")
    _plan_row(table, "test rows", f"{len(plan.test)} in {len(set(plan.test.group))} groups")
    for reason, count in data.dropped.items():
        _plan_row(table, "dropped", f"{count}: {reason}")
    if plan.outcome_rows.train is not None and plan.outcome_rows.test is not None:
        second = f"{plan.outcome_rows.train.source}: {len(plan.outcome_rows.train)} rows for the training rows, "
        _plan_row(table, "outcome model from", f"{second}{len(plan.outcome_rows.test)} for the test rows")
    if config.data.conversation is not None:
        _plan_row(table, "conversations", f"{len(data):,} in these rows. {SENTENCE}")
    mean = "mean" if data.columns.weight is None else "weighted mean"
    value = data.outcome_mean_and_spread()[0]
    _plan_row(table, "outcome", f"{data.columns.outcome}, {data.direction}, {mean} {value:.4g}")
    for one in plan.constraints:
        values = data.with_outcome(one.outcome, one.direction)
        level = values.outcome_mean_and_spread()[0]
        missing = (
            f", missing in {int((~values.rated).sum())} of {len(values)} rows" if values.observed is not None else ""
        )
        _plan_row(table, "constraint", f"{one.words}, {mean} {level:.4g} in the logs{missing}")
    parts = ["embedder", "outcome_model", "assignment_model", "objective", "backend"]
    if not data.rated.all():
        _plan_row(table, "rows with an outcome", f"{int(data.rated.sum())} of {len(data)}")
        parts.insert(3, "observation_model")
    everything = list(plan.data_sets().values())
    distinct = {text for part in everything for text in part.texts}
    texts = len(distinct)
    rows = sum(len(part) for part in everything)
    _plan_row(table, "texts", f"{texts:,}, {rows / texts:.1f} readings each")
    words = sum(len(text.split()) for text in distinct)
    _plan_row(table, "words", f"{words:,}, {words / texts:.1f} in a text")
    if data.reader is not None:
        readers = len({code for part in everything if part.reader is not None for code in part.reader})
        _plan_row(table, "readers", f"{readers:,}")
    if not len(data.covariates.columns):
        _plan_row(table, "covariates", "none: the texts are treated as randomised")
    for i, column in enumerate(data.covariates.columns):
        _plan_row(table, "" if i else "covariates", f"{column}: {_kind(data.covariates[column])}")
    chosen_among = plan.backend.candidates if isinstance(plan.backend, CandidateBackend) else None
    if isinstance(chosen_among, ChoiceSets):
        _plan_row(table, "candidates", chosen_among.sentence())
    gib = estimated_memory(*plan.data_sets().values()) / 2**30
    _plan_row(table, "memory", f"about {gib:.1f} GiB, without a model")
    for part in parts:
        settings = dict(getattr(config, part))
        name = settings.pop("name")
        shown = [f"{key}={value}" for key, value in settings.items() if value is not None or every_setting]
        if not every_setting:
            shown = [one if len(one) <= LONGEST_SETTING else f"{one.split('=')[0]}=..." for one in shown]
        _plan_row(table, part.replace("_", " "), f"{name} " + ", ".join(shown))
    return table
