"""The sentences of a report: the numbers in words, and their interpretation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalopt.diagnostics.verdict import TOO_FEW, thin_below
from causalopt.digits import change, interval, number, percent

Record = Mapping[str, Any]


def covers(part: Record, value: float) -> bool:
    """Return whether the interval contains ``value``."""
    return bool(part["ci_low"] <= value <= part["ci_high"])


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


def conclusion(metrics: Record) -> str:
    """Conclusion of the run in one sentence without numbers; what `headline` says if the run recorded none.

    Examples
    --------
    >>> conclusion({"verdict": "Overlap is thin. The policy ...", "outlook": "unclear"})
    'The data do not show whether the optimised model is better or worse than the reference model.'
    """
    if not str(metrics.get("verdict") or "").strip():
        return headline(metrics)
    if stays(metrics):
        return "No better model was found: the run leaves the reference model."
    return {
        "better": "The optimised model is better than the reference model.",
        "worse": "The optimised model is worse than the reference model.",
        "unclear": "The data do not show whether the optimised model is better or worse than the reference model.",
    }[str(metrics.get("outlook") or "unclear")]


def stays(metrics: Record) -> bool:
    """Return whether the choice of how far to go fell on the reference itself."""
    return (metrics.get("frontier") or {}).get("chosen") == 0


def moved(metrics: Record) -> str:
    """Say what reading texts of the optimised model would change, with the interval.

    Examples
    --------
    >>> part = {"estimate": 0.5, "ci_low": 0.25, "ci_high": 0.75}
    >>> moved({"outcome": "rating", "value": {"difference": part}})
    '+0.50 rating (95% interval +0.25 to +0.75)'
    """
    difference, low, high = change(metrics["value"]["difference"])
    return f"{difference} {metrics['outcome']} ({level_of(metrics)} interval {low} to {high})"


def enough(metrics: Record) -> str | None:
    """Say whether the effective number of units suffices for a conclusion; None if overlap was not measured.

    Examples
    --------
    >>> enough({"overlap": {"ess": 74.07, "clusters": 460, "unit": "texts"}})
    'For this model the 460 logged texts are worth 74.1 equally weighted ones, which is enough for a conclusion.'
    >>> enough({"overlap": {"ess": 19.6, "clusters": 460, "unit": "texts"}}).partition(", ")[2]
    'too few: nothing is concluded from fewer than 20.'
    """
    overlap = metrics.get("overlap") or {}
    size, clusters = overlap.get("ess"), overlap.get("clusters")
    if not isinstance(size, int | float) or not isinstance(clusters, int):
        return None
    unit = overlap.get("unit") or "rows"
    said = f"For this model the {number(clusters)} logged {unit} are worth {number(float(size))} equally weighted ones"
    limit = thin_below(clusters)
    if size < TOO_FEW:
        return f"{said}, too few: nothing is concluded from fewer than {number(int(TOO_FEW))}."
    if size < limit:
        return f"{said}, which is thin: with {number(clusters)} {unit}, {number(float(limit))} or more are needed."
    if metrics.get("thin"):
        return f"{said}, but they are not what the conclusion can rest on: see the caution."
    if metrics.get("barred"):
        return f"{said}. Something else stands against a conclusion: see the caution."
    return f"{said}, which is enough for a conclusion."


def sensitive(metrics: Record) -> str | None:
    """Say how strong a confounder that was not recorded would have to be; None if nothing is concluded, or not known.

    Examples
    --------
    >>> evidence = {"robustness_value_interval": 0.0711}
    >>> sensitive({"outlook": "better", "data": {"covariates": ["age"]}, "evidence": evidence})[:80]
    'A hidden cause of both text and response would have to explain 7.11% of what is '
    """
    found = (metrics.get("evidence") or {}).get("robustness_value_interval")
    concluded = metrics.get("outlook") in ("better", "worse") and (metrics.get("data") or {}).get("covariates")
    if not concluded or not isinstance(found, int | float):
        return None
    return (
        f"A hidden cause of both text and response would have to explain {percent(found)} of what is left unexplained "
        "in each to undo this."
    )


def cautions(metrics: Record) -> list[str]:
    """List what a reader must know beside the conclusion, the most important first: what bars it, then thin overlap."""
    return [str(reason) for reason in metrics.get("reasons") or []]


def dropped(metrics: Record) -> str:
    """Count the rows that were left out, by reason; empty if there are none.

    Runs count them for training and held-out rows apart, as ``{"train": {reason: count}, "test": ...}``.

    Examples
    --------
    >>> dropped({"data": {"dropped": {"train": {"no text": 6}, "test": {}}}}), dropped({"data": {"dropped": {}}})
    ('6 (no text, train)', '')
    """
    parts = []
    for name, found in ((metrics.get("data") or {}).get("dropped") or {}).items():
        counts = (
            {f"{reason}, {name}": n for reason, n in found.items()} if isinstance(found, Mapping) else {name: found}
        )
        parts += [f"{number(count)} ({reason})" for reason, count in counts.items()]
    return ", ".join(parts)


def model(metrics: Record) -> str:
    """Say which model the run leaves, and how it was chosen.

    Examples
    --------
    >>> model({"kl": 0.52})
    'The optimised model is 0.520 nats away from the reference model.'
    """
    frontier, kl = metrics.get("frontier"), metrics.get("kl")
    away = f"{number(kl)} nats away from the reference model" if isinstance(kl, int | float) else None
    if stays(metrics):
        return "The model that the run leaves is the reference model: no other was certain enough to be better."
    if away is None:
        return "The optimised model is in the folder policy."
    chosen = ""
    if frontier:
        chosen = ", the distance with the best lower bound of its gain on rows set apart for this choice"
    return f"The optimised model is {away}{chosen}."


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
