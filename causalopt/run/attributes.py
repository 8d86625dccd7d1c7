"""What the texts do, by their coded attributes: the entry ``attributes`` of ``metrics.json``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalopt.diagnostics.attributes import AttributeEffects, attribute_effects
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.evaluate import Evaluation
from causalopt.evaluation.policies import Draws
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, Float64


def attribute_metrics(train: PseudoOutcomes, test: PseudoOutcomes, evaluation: Evaluation) -> dict[str, Any] | None:
    """Effect of each attribute in the held-out rows, adjusted and naive; None if no attributes were named.

    Where all texts of both policies are coded in the rows of either, also the mean of each attribute over them.
    """
    data = test.dataset
    if not data.attributes.shape[1]:
        return None
    adjusted = _effects(test, test.xi, np.ones(len(test), dtype=bool), evaluation)
    naive = _effects(test, data.outcome, data.rated, evaluation)
    shared = [name for name in adjusted.effects if name in naive.effects]
    parts = train.dataset, test.dataset
    coding = pd.concat([part.attributes for part in parts])
    codes = coding.groupby(np.array([text for part in parts for text in part.texts])).mean()
    written = {who: _written(codes, evaluation.draws[who]) for who in ("reference", "policy")}
    coded = all(means is not None for means in written.values())
    return {
        "sentence": _sentence(test),
        "written": coded,
        "left_out": adjusted.left_out | naive.left_out,
        "effects": [
            {
                "attribute": name,
                "adjusted": (found := _plain(adjusted.effects[name], evaluation.level)),
                "naive": _plain(naive.effects[name], evaluation.level),
                "direction": _direction(found, data.direction),
                **({who: means[name] for who, means in written.items() if means is not None} if coded else {}),
            }
            for name in shared
        ],
    }


def _effects(test: PseudoOutcomes, values: Float64, rows: Array, evaluation: Evaluation) -> AttributeEffects:
    part = test.dataset.subset(rows)
    cluster = part.cluster(evaluation.population)
    return attribute_effects(part.attributes, values[rows], weight=part.weight, cluster=cluster)


def _plain(estimate: Estimate, level: float) -> dict[str, float]:
    low, high = estimate.confint(level)
    return {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}


def _direction(found: dict[str, float], direction: str) -> str:
    """Say whether more of an attribute is better, worse, or neither as far as its interval shows."""
    if found["ci_low"] <= 0 <= found["ci_high"]:
        return "not clear"
    return "better" if (found["estimate"] > 0) == (direction == "maximize") else "worse"


def _sentence(test: PseudoOutcomes) -> str:
    data = test.dataset
    how = (
        "adjusted for who read which text"
        if test.corrected
        else "adjusted by the outcome model alone, since there are no stabilized weights"
    )
    across = "" if data.prompts is None else " Texts that answer different prompts are compared, too."
    return (
        f"The responses to the {len(data):,} held-out rows, summarised linearly in the attributes that were coded for "
        f"each text, {how}.{across} Only attributes that were coded count: what goes with them is attributed to them."
    )


def _written(codes: pd.DataFrame, draws: Draws) -> dict[str, float] | None:
    """Mean of each attribute over the texts of a policy; None if one of them was not coded."""
    if draws.weight is not None or not set(draws.texts) <= set(codes.index):
        return None
    counts = pd.Series(draws.texts).value_counts()
    means = codes.loc[counts.index].mul(counts / counts.sum(), axis=0).sum()
    return {str(name): float(mean) for name, mean in means.items()}
