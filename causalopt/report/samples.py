"""The sampled texts that the page shows: chosen by rank alone, in a size that a browser opens at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import escape

from causalopt.messages import readable
from causalopt.typing import Int64

MOST_ROWS = 150
"""Rows of samples on the page."""
MOST_CHARACTERS = 1500
"""Characters of a text on the page; all of it is in ``samples.parquet``."""
MOST_BYTES = 600_000
"""Bytes of all texts on the page, as HTML."""


@dataclass(frozen=True)
class Sample:
    """A text of a model as the page shows it, with the logged text nearest to it if that was recorded."""

    text: str
    prompt: str | None
    score: float
    truth: float | None
    neighbour_outcome: float | None
    similarity: float | None
    neighbour: str | None


@dataclass(frozen=True)
class Pair:
    """A text of the reference and one of the optimised model, in answer to the same prompt or of the same rank."""

    reference: Sample | None
    policy: Sample | None

    @property
    def gain(self) -> float | None:
        """Score of the optimised model's text minus that of the reference's."""
        if self.reference is None or self.policy is None:
            return None
        return self.policy.score - self.reference.score


@dataclass(frozen=True)
class Samples:
    """What the page shows of ``samples.parquet``."""

    pairs: list[Pair]
    typical: Pair
    total: int
    same_prompts: bool


def shown_samples(samples: pd.DataFrame, direction: str) -> Samples:
    """Choose the pairs of texts that the page shows: at evenly spaced ranks, so that none is hand-picked; best first.

    Where both models answered the same prompts, a pair is two answers to one prompt, and its rank is that of the
    optimised model's answer; otherwise the texts of a pair only have the same rank.

    Parameters
    ----------
    samples
        At least one row; ``policy``, ``text`` and ``g``, and optionally ``prompt``, ``truth``, ``neighbour``,
        ``neighbour_outcome`` and ``similarity``.
    direction
        "maximize" or "minimize": whether a larger g is better.
    """
    both, order, same = _ranked(samples, direction)
    pairs = _pairs(both, order, MOST_ROWS)
    while len(pairs) > 1 and sum(map(_bytes, pairs)) > MOST_BYTES:
        pairs = pairs[::2]
    (typical,) = _pairs(both, {name: places[len(places) // 2 :][:1] for name, places in order.items()}, 1)
    return Samples(pairs, typical, len(samples), same)


def places_shown(samples: pd.DataFrame, direction: str) -> Int64:
    """Positions in ``samples`` of the optimised model's texts that the page shows, before any is left out for its size.

    Examples
    --------
    >>> import pandas as pd
    >>> names = ["reference", "policy", "policy"]
    >>> samples = pd.DataFrame({"policy": names, "text": ["a", "b", "c"], "g": [1.0, 2.0, 3.0]})
    >>> places_shown(samples, "maximize").tolist()
    [2, 1]
    """
    _, order, _ = _ranked(samples, direction)
    rows = np.flatnonzero(samples["policy"].to_numpy() == "policy")
    return rows[order["policy"][_ranks(len(rows), MOST_ROWS)]]


def _ranked(samples: pd.DataFrame, direction: str) -> tuple[dict[str, pd.DataFrame], dict[str, Int64], bool]:
    """Texts of both models, their places from best to worst, and whether they answer the same prompts."""
    both = {name: samples[samples["policy"] == name] for name in ("reference", "policy")}
    order = {name: _from_best(rows, direction) for name, rows in both.items()}
    same = _same_prompts(both["reference"], both["policy"])
    return both, order | ({"reference": order["policy"]} if same else {}), same


def _same_prompts(reference: pd.DataFrame, policy: pd.DataFrame) -> bool:
    """Whether the draws of both models answer the same prompts, one by one; a single prompt pairs nothing."""
    if "prompt" not in policy or len(reference) != len(policy) or policy["prompt"].isna().any():
        return False
    if policy["prompt"].nunique() < 2:
        return False
    return reference["prompt"].tolist() == policy["prompt"].tolist()


def _pairs(both: Mapping[str, pd.DataFrame], order: Mapping[str, Int64], count: int) -> list[Pair]:
    """Pairs at ``count`` evenly spaced ranks; where a model has fewer texts, its last places stay empty."""
    count = min(count, max(map(len, order.values())))
    columns = []
    for name in ("reference", "policy"):
        places, rows = order[name], both[name]
        ranks = _ranks(len(places), count)
        shown = rows.iloc[places[ranks]].astype(object)
        records = shown.where(shown.notna(), None).to_dict("records")
        columns.append([_sample(record) for record in records] + [None] * (count - len(records)))
    return [Pair(before, after) for before, after in zip(*columns, strict=True)]


def _ranks(n: int, count: int) -> Int64:
    return np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(np.int64))


def _from_best(rows: pd.DataFrame, direction: str) -> Int64:
    g = rows["g"].to_numpy(dtype=np.float64)
    return np.argsort(g if direction == "minimize" else -g, kind="stable")


def _sample(record: Mapping[Any, Any]) -> Sample:
    prompt = record.get("prompt")
    return Sample(
        shortened(str(record["text"])),
        shortened(readable(prompt)) if isinstance(prompt, str) else None,
        float("nan") if record["g"] is None else float(record["g"]),
        record.get("truth"),
        record.get("neighbour_outcome"),
        record.get("similarity"),
        None if record.get("neighbour") is None else shortened(str(record["neighbour"])),
    )


def shortened(text: str) -> str:
    """Cut a text after `MOST_CHARACTERS`, and say so with an ellipsis."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} […]"


def _bytes(pair: Pair) -> int:
    """Size of a pair's texts in the page."""
    ones = [one for one in (pair.reference, pair.policy) if one is not None]
    words = [word for one in ones for word in (one.text, one.prompt, one.neighbour) if word is not None]
    return sum(len(str(escape(word)).encode(errors="replace")) for word in words)
