"""Tables of the odd kinds that people have, drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

WHO = ("The mayor", "A nurse", "My neighbour", "The committee", "A farmer")
VERB = ("asks you", "urges us", "wants everybody", "would like people")
WHAT = ("to save water.", "to plant trees.", "to give ten euros.", "to vote on Sunday.")
SYLLABLES = ("ba", "do", "ki", "lu", "me", "ra", "so", "ti", "vu", "zen")
TEXTS = ("parts", "two", "few", "unique", "twins", "one word apart")
OUTCOMES = ("normal", "noise", "binary", "rare", "skewed", "tied", "constant but one", "outlier", "huge", "minute")
COVARIATES = ("number", "many levels", "near-unique", "twice the same", "heavy tails", "none", "more than rows")
EXTRAS = ("plain", "plain", "plain", "prompts", "weights", "readers")


def odd_table(seed: int) -> tuple[pd.DataFrame, dict[str, Any], dict[str, str]]:
    """Draw a table, the columns' roles as `DirectOutcomeDataset.from_frame` takes them, and what is odd about it."""
    rng = np.random.default_rng([17, seed])
    kind = {
        "texts": str(rng.choice(TEXTS)),
        "outcomes": str(rng.choice(OUTCOMES)),
        "covariates": str(rng.choice(COVARIATES)),
        "extra": str(rng.choice(EXTRAS)),
    }
    n = int(rng.integers(12, 81))
    leaning = rng.normal(size=n)
    part, texts = _texts(kind["texts"], n, leaning, rng)
    covariates = _covariates(kind["covariates"], n, leaning, rng)
    signal = rng.choice([0.0, 1.0]) * part + 0.5 * leaning
    frame = pd.DataFrame({"text": texts, **covariates, "outcome": _outcomes(kind["outcomes"], signal, rng)})
    roles: dict[str, Any] = {"text": "text", "outcome": "outcome", "covariates": list(covariates)}
    if kind["extra"] == "prompts":
        frame["prompt"] = [f"Question {i}?" for i in rng.integers(0, rng.choice([2, n]), n)]
        roles["prompt"] = "prompt"
    elif kind["extra"] == "weights":
        frame["weight"] = np.exp(2 * rng.normal(size=n))
        roles["weight"] = "weight"
    elif kind["extra"] == "readers":
        frame["reader"] = rng.integers(0, max(n // 4, 2), n)
        roles["group"] = "reader"
    return frame, roles, kind


def _texts(kind: str, n: int, leaning: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """A number of each row's text, in standard units, and the texts."""
    shown = leaning * rng.choice([0.0, 1.0]) + rng.normal(size=n)
    rank = np.argsort(np.argsort(shown)) / n
    if kind == "parts":
        i, j, k = rng.integers(0, 5, n), (4 * rank).astype(int), rng.integers(0, 4, n)
        return j - 1.5, [f"{WHO[a]} {VERB[b]} {WHAT[c]}" for a, b, c in zip(i, j, k, strict=True)]
    if kind == "unique":
        words = rng.choice(SYLLABLES, (n, 6, 2))
        return shown, [" ".join("".join(pair) for pair in row) + f" {i}" for i, row in enumerate(words)]
    number = {"two": 2, "few": 5, "twins": 6, "one word apart": 20}[kind]
    j = np.minimum((number * rank).astype(int), number - 1)
    if kind == "two":
        texts = ["please give now", "water the plants tomorrow"]
    elif kind == "twins":
        texts = [text for three in WHAT[:3] for text in (f"We ask {three}", f"We  ask {three.upper()}")]
    elif kind == "few":
        texts = [f"{who} {VERB[0]} {WHAT[0]}" for who in WHO]
    else:
        texts = [f"the same long sentence but for {word} at its end" for word in map(str, range(number))]
    return (j - j.mean()) / max(float(j.std()), 1.0), [texts[i] for i in j]


def _covariates(kind: str, n: int, leaning: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    if kind == "none":
        return {}
    if kind == "many levels":
        return {"town": [f"town {i}" for i in rng.integers(0, n // 2, n)], "age": 40 + 10 * leaning}
    if kind == "near-unique":
        return {"name": [f"reader {i}" for i in rng.integers(0, 10 * n, n)]}
    if kind == "twice the same":
        return {"age": 40 + 10 * leaning, "months": 480 + 120 * leaning, "constant": np.ones(n)}
    if kind == "heavy tails":
        return {"income": np.exp(2 * leaning + rng.standard_cauchy(n).clip(-20, 20)), "age": leaning}
    if kind == "more than rows":
        return {f"item {i}": leaning * (i == 0) + rng.normal(size=n) for i in range(n + 5)}
    return {"age": np.round(40 + 10 * leaning, 1)}


def _outcomes(kind: str, signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y = signal + rng.normal(size=len(signal))
    if kind == "noise":
        return rng.normal(size=len(y))
    if kind == "binary":
        return (y > 0).astype(float)
    if kind == "rare":
        return (rng.random(len(y)) < 0.08).astype(float)
    if kind == "skewed":
        return np.round(np.exp(2 * y), 2)
    if kind == "tied":
        return np.clip(np.round(3 + y), 1, 5)
    if kind == "constant but one":
        return np.where(np.arange(len(y)) == rng.integers(len(y)), 9.0, 3.0)
    if kind == "outlier":
        return np.where(np.arange(len(y)) == rng.integers(len(y)), 1e6, y)
    return y * {"normal": 1.0, "huge": 1e300, "minute": 1e-300}[kind]
