"""One fit: texts of one length, one objective, and the true gain of the policy that it ends at."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import causalopt as co
from benchmarks.long_texts.language import NOISE, SYNONYMS, TOKENS, TOPICS, dose_response, embedding, models
from causalopt.errors import CausalOptWarning, CollapseWarning
from causalopt.evaluation import overlap
from causalopt.typing import Float64, Int64

WORDS = [first + last for first in ("ba", "ko", "mi", "tu", "re", "sa", "ne", "du")
         for last in ("lo", "fen", "gar", "pim", "dos", "zul", "vik", "hat")]  # fmt: skip
"""The words of the tokens: eight to a topic."""
TEST_ROWS = 500
WRITTEN = 1000
"""Texts drawn from a policy whose mean is taken for its value."""

METHODS: dict[str, dict[str, Any]] = {
    "dr_cpo": {"objective": {"name": "dr_cpo"}},
    "cpo": {"objective": {"name": "cpo"}},
    "oo_rlhf": {"objective": {"name": "oo_rlhf"}},
    "dr_cpo, per token": {"objective": {"name": "dr_cpo", "per_token": True}},
    "dr_cpo, band 0.2": {"objective": {"name": "dr_cpo", "band": 0.2}},
    "dr_cpo, taper": {"objective": {"name": "dr_cpo", "taper": True}},
    "oo_rlhf, refreshed": {"objective": {"name": "oo_rlhf"}, "backend": {"refresh": {"every_steps": 8}}},
    "wll": {"objective": {"name": "wll"}},
}


def replicate(length: int, rows: int, method: str, seed: int) -> list[dict[str, Any]]:
    """Tune ``scratch:tiny`` on ``rows`` texts of ``length`` words, and value what it then writes.

    A fifth of the rows chooses how far to go, as in a run. ``gain`` and ``gain_se`` are the true gain of the chosen
    policy over the reference and its Monte Carlo error, outcome units; ``estimate`` and its interval are the default
    ones, on 500 other texts. ``ess`` is the effective number of training texts at the end of the fit, under the ratio
    of sequence probabilities; ``collapsed`` says whether the fit warned that a single text was left.
    """
    logging, _ = models()
    rng = np.random.default_rng([seed, length])
    logged = logging.sample(rows + TEST_ROWS, length, rng)
    outcome = dose_response(embedding(logged)) + NOISE * rng.standard_normal(len(logged))
    frame = pd.DataFrame({"text": [_written(text) for text in logged], "outcome": outcome})
    bounds = [0, rows * 4 // 5, rows, len(frame)]
    train, apart, test = (
        co.DirectOutcomeDataset.from_frame(frame[start:stop].reset_index(drop=True))
        for start, stop in itertools.pairwise(bounds)
    )
    settings: Mapping[str, Any] = METHODS[method]
    backend = {"name": "huggingface", "model": "scratch:tiny", "sampling": {"max_new_tokens": 2 * length}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CausalOptWarning)
        found = co.optimize(
            co.PseudoOutcomeEstimator(seed=0).fit_transform(train),
            objective=settings["objective"],
            backend={**backend, **settings.get("backend", {})},
            choose=co.PseudoOutcomeEstimator(seed=0).fit_transform(apart),
            seed=seed,
        )
    collapsed = any(issubclass(one.category, CollapseWarning) for one in caught)
    new, old = found.policy, found.reference
    value, value_se = _value(new.sample(None, WRITTEN, seed=1))
    base, base_se = _value(old.sample(None, WRITTEN, seed=2))
    assert found.end is not None
    ratio = found.end.log_prob(None, train.texts) - old.log_prob(None, train.texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        judged = co.evaluate(found, test, estimators=["balance"], draws=400)
    low, high = judged.difference.confint(0.95)
    return [
        {
            "length": length,
            "method": method,
            "replication": seed,
            "gain": value - base,
            "gain_se": math.hypot(value_se, base_se),
            "kl": judged.kl.kl if judged.kl is not None else math.nan,
            "ess": overlap(ratio).ess,
            "collapsed": collapsed,
            "estimate": judged.difference.value,
            "se": judged.difference.se,
            "ci_low": low,
            "ci_high": high,
        }
    ]


def _written(text: Int64) -> str:
    return " ".join(WORDS[token] for token in text)


def _value(texts: list[str]) -> tuple[float, float]:
    """Mean of g over texts, by the shares of topics among their known words, and its standard error."""
    g = dose_response(_shares(texts))
    return float(g.mean()), float(g.std(ddof=1) / math.sqrt(len(g)))


def _shares(texts: list[str]) -> Float64:
    token = {word: i for i, word in enumerate(WORDS)}
    found = np.zeros((len(texts), TOPICS))
    for i, text in enumerate(texts):
        known = [token[word] // SYNONYMS for word in text.split() if word in token]
        found[i] = np.bincount(known, minlength=TOPICS) / max(len(known), 1)
    return found[:, :-1]


assert len(WORDS) == TOKENS
