"""The sentences of a report: the numbers in words, and their interpretation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


def number(value: Any) -> str:
    """Format a number: three significant digits, thousands separators, a dash if there is none.

    Examples
    --------
    >>> number(0.012345), number(1234567), number(None), number(-2.5)
    ('0.0123', '1,234,567', '–', '−2.50')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int):
        text = f"{value:,}"
    elif not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    elif value == 0:
        text = "0"
    elif abs(value) < 1e-4:
        text = f"{value:.1e}"
    else:
        text = f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return text.replace("-", "−")


def interval(part: Record) -> tuple[str, str, str]:
    """Format estimate, lower and upper end with the same number of decimals, determined by the interval's width.

    Examples
    --------
    >>> interval({"estimate": 56.31, "ci_low": 55.12, "ci_high": 57.43})
    ('56.3', '55.1', '57.4')
    """
    values = [float(part[key]) for key in ("estimate", "ci_low", "ci_high")]
    width = values[2] - values[1]
    if not all(map(math.isfinite, values)) or width <= 0:
        estimate, low, high = map(number, values)
        return estimate, low, high
    decimals = min(max(0, 1 - math.floor(math.log10(width))), 8)
    # A bound that is not zero must not be printed as zero: the reader looks for its sign.
    while decimals < 8 and any(value != 0 and round(value, decimals) == 0 for value in values[1:]):
        decimals += 1
    estimate, low, high = (f"{value:,.{decimals}f}".replace("-", "−") for value in values)
    return estimate, low, high


def covers(part: Record, value: float) -> bool:
    """Return whether the interval contains ``value``."""
    return bool(part["ci_low"] <= value <= part["ci_high"])


def percent(share: Any) -> str:
    """Format a share between 0 and 1 as a percentage.

    Examples
    --------
    >>> percent(0.1234), percent(None)
    ('12.3%', '–')
    """
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.3g}%".replace("-", "−")


def level_of(metrics: Record) -> str:
    """Level of the intervals, as a percentage."""
    return percent(metrics.get("level", 0.95))


def outcome_of(metrics: Record) -> str:
    """Outcome with the direction that is better."""
    better = "higher" if metrics["direction"] == "maximize" else "lower"
    return f"{metrics['outcome']} ({better} is better)"


def headline(metrics: Record) -> str:
    """First line of the page: the run's verdict or, if it recorded none, the difference.

    Examples
    --------
    >>> headline({"verdict": "The policy is better than the reference."})
    'The policy is better than the reference.'
    """
    own = str(metrics.get("verdict") or "").strip()
    if own:
        return own
    estimate, low, high = interval(metrics["value"]["difference"])
    return (
        f"This run recorded no verdict. The difference in {metrics['outcome']} is {estimate} "
        f"({level_of(metrics)} interval {low} to {high})."
    )


def outlook(metrics: Record) -> str:
    """Class of the verdict: "thin" if overlap is thin, else the run's "better", "worse" or "unclear"."""
    return "thin" if metrics.get("thin") else str(metrics.get("outlook") or "unclear")


def answer(metrics: Record) -> str:
    """State the two values, their difference and the run's conclusion from it."""
    value, outcome = metrics["value"], metrics["outcome"]
    reference, policy = (interval(value[key])[0] for key in ("reference", "policy"))
    difference, low, high = interval(value["difference"])
    closing = {
        "better": "The optimised model is better.",
        "worse": "The optimised model is worse.",
        "unclear": "A gain cannot be distinguished from no change, or from a loss.",
    }[str(metrics.get("outlook") or "unclear")]
    better = "Higher" if metrics["direction"] == "maximize" else "Lower"
    return (
        f"{better} {outcome} is better. If everybody read texts from the reference model, {outcome} would average "
        f"{reference}; from the optimised model, {policy}. The difference is {difference} "
        f"({level_of(metrics)} interval {low} to {high}). {closing}"
    )


def nonresponse(metrics: Record) -> str | None:
    """Say how unlike each other those who respond and those who do not would have to be; None if all responded.

    Examples
    --------
    >>> found = {"unobserved_policy": 0.6, "unobserved_reference": 0.7, "tipping_point": None,
    ...          "worst_tipping_point": 0.5, "outcome_sd": 2.0}
    >>> nonresponse({"outcome": "stars", "evidence": {"nonresponse": found}}).split(". ")[0]
    'Of the reference model, 70% of the readers would not respond, and 60% of those of the optimised model'
    """
    found = (metrics.get("evidence") or {}).get("nonresponse")
    if not found:
        return None

    unobserved = (percent(found[f"unobserved_{who}"]) for who in ("reference", "policy"))
    said = (
        "Of the reference model, {} of the readers would not respond, and {} of those of the optimised model. The "
        "estimate takes their response to be like that of readers with the same covariates who did respond to the same "
        "text."
    ).format(*unobserved)
    tipping, worst = found.get("tipping_point"), found.get("worst_tipping_point")
    if tipping == 0:
        return f"{said} The interval of the difference contains zero as it is."

    def size(delta: float) -> str:
        sd = number(abs(delta) / found["outcome_sd"])
        return f"by {number(abs(delta))} ({sd} standard deviations of {metrics['outcome']})"

    if tipping is None:
        throughout = "No deviation of the same size for all texts and readers would make the interval contain zero"
    else:
        direction = "lower" if tipping > 0 else "higher"
        throughout = (
            f"For the interval of the difference to contain zero, their mean would have to be {direction} "
            f"{size(tipping)} for all texts and readers alike"
        )
    at_worst = "no size suffices" if worst is None else f"a deviation {size(worst)} suffices"
    return f"{said} {throughout}; if the deviation may differ between texts and readers, {at_worst} at worst."


def assumptions(metrics: Record) -> list[tuple[str, str]]:
    """List the assumptions behind the numbers, and whether the data can contradict them."""
    covariates = (metrics.get("data") or {}).get("covariates") or []
    given = (
        f"Given {', '.join(map(str, covariates))} (and the prompt, if there is one), nothing else affected both "
        "which text was shown and the response. The data cannot test this."
        if covariates
        else "No covariates were named, so this holds only if texts were assigned at random "
        "(given the prompt, if there is one). The data cannot test this."
    )
    stands_on = {
        "logged": " The density of the logged texts is the one recorded by the logging system.",
        "reference": " The density of the logged texts is that of the reference model, itself an estimate.",
        "frequency": " The density of the logged texts is their share of the rows, itself an estimate.",
        "uniform": " The logged texts are taken to have been shown equally often.",
        "embedding": " The density of the logged texts is a ratio estimated in embedding space.",
    }.get(metrics.get("behavior_policy") or "", "")
    conversations = metrics.get("conversations")
    return [
        *([("Conversations", str(conversations))] if conversations else []),
        (
            "Consistency",
            "A text has the same effect on a reader regardless of how it came to be shown, and one reader's text does "
            "not affect another reader's response. The data cannot test this.",
        ),
        ("No unmeasured confounding", given),
        (
            "Overlap",
            "Texts like the model's were shown to all kinds of readers. The overlap above measures this." + stands_on,
        ),
    ]
