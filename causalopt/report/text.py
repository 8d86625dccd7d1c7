"""The sentences of a report: numbers in words, and what they do and do not show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

# Pareto-k above 0.7: importance-weighted means are unreliable at any practical sample size
# (Vehtari, Simpson, Gelman, Yao and Gabry 2024). The other two bounds are conventions: under 50 effective rows the
# normal interval is not to be trusted, and one row that carries a tenth of the weight decides the answer alone.
THIN_ESS = 50.0
THIN_SHARE = 0.1
THIN_PARETO_K = 0.7


def number(value: Any) -> str:
    """Write a number for a reader: three significant digits, thousands apart, a dash where there is none.

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
    """Write estimate, lower and upper end with the same decimals: as many as the width of the interval deserves.

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
    """Tell whether the interval holds ``value``."""
    return bool(part["ci_low"] <= value <= part["ci_high"])


def percent(share: Any) -> str:
    """Write a share between 0 and 1 as a percentage.

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


def thin_overlap(metrics: Record, most: int | None = None) -> str:
    """Say in words, for at most ``most`` reasons, that the data hardly speak about this policy; empty when they do."""
    overlap = metrics.get("overlap") or {}
    ess, share, k = (_finite(overlap.get(key)) for key in ("ess", "max_weight_share", "pareto_k"))
    reasons = []
    if ess is not None and ess < THIN_ESS:
        rows = (metrics.get("data") or {}).get("test_rows")
        held_out = f"{rows:,} held-out rows" if isinstance(rows, int) else "held-out rows"
        reasons.append(f"the {held_out} count like {ess:,.0f}")
    if share is not None and share > THIN_SHARE:
        reasons.append(f"one row carries {percent(share)} of the weight")
    if k is not None and k > THIN_PARETO_K:
        reasons.append(f"the tail of the weights is heavy (Pareto k {number(k)}, above {THIN_PARETO_K})")
    return f"Overlap is thin, so trust this little: {'; '.join(reasons[:most])}." if reasons else ""


def verdict(metrics: Record) -> str:
    """Answer in plain language whether the optimised model is better, thin overlap first.

    Examples
    --------
    >>> part = {"estimate": 0.5, "ci_low": 0.2, "ci_high": 0.8}
    >>> verdict({"outcome": "rating", "direction": "maximize", "level": 0.95, "value": {"difference": part}})
    'The optimised model is better: rating would rise by 0.50 on average (95% interval 0.20 to 0.80).'
    """
    part = metrics["value"]["difference"]
    _, low, high = interval(part)
    bounds = f"{level_of(metrics)} interval {low} to {high}"
    if not all(math.isfinite(part[key]) for key in ("estimate", "ci_low", "ci_high")):
        answer = "The data give no interval for the difference, so they do not show that the optimised model is better."
    elif covers(part, 0.0):
        answer = (
            "The data do not show that the optimised model is better: "
            f"the interval of the difference in {metrics['outcome']} covers zero ({bounds})."
        )
    else:
        better = outlook(metrics) == "better"
        move = "rise" if part["estimate"] > 0 else "fall"
        size = interval({**part, "estimate": abs(part["estimate"])})[0]
        answer = (
            f"The optimised model is {'better' if better else 'worse'}: "
            f"{metrics['outcome']} would {move} by {size} on average ({bounds})."
        )
    return f"{thin_overlap(metrics, most=1)} {answer}".strip()


def outlook(metrics: Record) -> str:
    """Class of the verdict: "better", "worse" or "unclear" (the interval covers zero, or there is none)."""
    part = metrics["value"]["difference"]
    sign = 1.0 if metrics["direction"] == "maximize" else -1.0
    low, high = sorted((sign * part["ci_low"], sign * part["ci_high"]))
    return "better" if low > 0 else "worse" if high < 0 else "unclear"


def headline(metrics: Record) -> str:
    """First line of the page: the run's own verdict, which never hides thin overlap; ours where it has none."""
    own = str(metrics.get("verdict") or "").strip()
    if not own:
        return verdict(metrics)
    return own if "overlap" in own.lower() else f"{thin_overlap(metrics, most=1)} {own}".strip()


def answer(metrics: Record) -> str:
    """State the two values, their difference and what its interval says."""
    value, outcome = metrics["value"], metrics["outcome"]
    reference, policy = (interval(value[key])[0] for key in ("reference", "policy"))
    difference, low, high = interval(value["difference"])
    closing = {
        "better": "The interval lies wholly on the better side of zero.",
        "worse": "The interval lies wholly on the worse side of zero.",
        "unclear": "The interval covers zero: with these data a gain cannot be told from no change, or from a loss.",
    }[outlook(metrics)]
    better = "Higher" if metrics["direction"] == "maximize" else "Lower"
    return (
        f"{better} {outcome} is better. If everybody read texts from the reference model, {outcome} would average "
        f"{reference}; from the optimised model, {policy}. The difference is {difference} "
        f"({level_of(metrics)} interval {low} to {high}). {closing}"
    )


def assumptions(metrics: Record, behavior: str | None = None) -> list[tuple[str, str]]:
    """Name what the numbers rest on, and say whether the data can contradict it."""
    covariates = (metrics.get("data") or {}).get("covariates") or []
    given = (
        f"Given {', '.join(map(str, covariates))} (and the prompt, where there is one), nothing else drove both "
        "which text was shown and the response. The data cannot test this."
        if covariates
        else "No covariates were named, so this holds only if texts were assigned at random "
        "(given the prompt, where there is one). The data cannot test this."
    )
    stands_on = {
        "logged": " The density of the logged texts is what the logging system recorded.",
        "reference": " The density of the logged texts is that of the reference model, itself an estimate.",
        "embedding": " The density of the logged texts is a ratio estimated in embedding space.",
    }.get(behavior or "", "")
    return [
        (
            "Consistency",
            "A text has the same effect on a reader however it came to be shown, and one reader's text does not change "
            "another's response. The data cannot test this.",
        ),
        ("No unmeasured confounding", given),
        (
            "Overlap",
            "Texts like the model's were shown, to all kinds of readers. The overlap table above measures this."
            + stands_on,
        ),
    ]


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
