"""What the texts do, by attributes that people or a coder gave them: the entry ``attributes`` of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from causalopt.diagnostics.attribute_effects import attribute_effects
from causalopt.embedding.coded_attributes import CodedAttributesEmbedder, agreement, coded
from causalopt.embedding.contracts import AttributeCoder
from causalopt.errors import DataError
from causalopt.evaluation.evaluate import Evaluation
from causalopt.evaluation.policies import Draws
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Float64


def attribute_metrics(train: PseudoOutcomes, test: PseudoOutcomes, evaluation: Evaluation) -> dict[str, Any] | None:
    """Effect of each attribute in the held-out rows, adjusted and naive; None if there are no attributes.

    Attributes that people coded (``data.attributes``) come before those of the embedder's coder, with which they are
    compared. Where the texts of both policies are coded too, the mean of each attribute over them is given.
    """
    coder = _coder(test)
    data = test.dataset
    by_people = bool(data.attributes.shape[1])
    if not by_people and coder is None:
        return None
    attributes = data.attributes if by_people or coder is None else coded(coder, data.texts)
    found = attribute_effects(
        attributes,
        test.xi,
        data.outcome,
        weight=data.weight,
        cluster=data.cluster(evaluation.population),
        level=evaluation.level,
    )
    written = {who: _written(evaluation.draws[who], coder, [train, test]) for who in ("reference", "policy")}
    shown = all(means is not None for means in written.values())
    known = found["reason"].isna() & found["naive_estimate"].notna()
    return {
        "sentence": _sentence(test, by_people),
        "written": shown,
        "left_out": {row.attribute: row.reason or "has no naive effect" for row in found[~known].itertuples()},
        "effects": [
            {
                "attribute": row["attribute"],
                **(parts := {kind: _part(row, kind) for kind in ("adjusted", "naive")}),
                "direction": _direction(parts["adjusted"], data.direction),
                **({who: means.get(row["attribute"]) for who, means in written.items() if means} if shown else {}),
            }
            for row in found[known].to_dict("records")
        ],
        "agreement": _agreement(test, coder) if by_people and coder is not None else None,
    }


def _coder(pseudo: PseudoOutcomes) -> AttributeCoder | None:
    embedder = None if pseudo.models is None else pseudo.models.embedder
    return embedder.coding if isinstance(embedder, CodedAttributesEmbedder) else None


def _part(row: dict[Any, Any], kind: str) -> dict[str, float]:
    return {name: float(row[f"{kind}_{name}"]) for name in ("estimate", "se", "ci_low", "ci_high")}


def _direction(found: dict[str, float], direction: str) -> str:
    """Say whether more of an attribute is better, worse, or neither as far as its interval shows."""
    if found["ci_low"] <= 0 <= found["ci_high"]:
        return "not clear"
    return "better" if (found["estimate"] > 0) == (direction == "maximize") else "worse"


def _sentence(test: PseudoOutcomes, by_people: bool) -> str:
    data = test.dataset
    how = (
        "adjusted for who read which text"
        if test.corrected
        else "adjusted by the outcome model alone, since there are no stabilized weights"
    )
    across = "" if data.prompts is None else " Texts that answer different prompts are compared, too."
    who = "people" if by_people else "the embedder's coder"
    return (
        f"The responses to the {len(data):,} held-out rows, summarised linearly in the attributes that {who} coded for "
        f"each text, {how}.{across} Only attributes that were coded count: what goes with them is attributed to them."
    )


def _written(draws: Draws, coder: AttributeCoder | None, logged: Sequence[PseudoOutcomes]) -> dict[str, float] | None:
    """Mean of each attribute over the texts of a policy; None if one of them is not coded."""
    if draws.weight is not None or not len(draws.texts):
        return None
    counts = pd.Series(draws.texts).value_counts()
    if logged[0].dataset.attributes.shape[1] == 0 and coder is not None:
        codes = coded(coder, list(counts.index)).set_axis(counts.index)
    else:
        known = pd.concat([part.dataset.attributes for part in logged])
        codes = known.groupby(np.array([text for part in logged for text in part.dataset.texts])).mean()
        if not set(counts.index) <= set(codes.index):
            return None
    share: Float64 = counts.to_numpy() / counts.sum()
    means = share @ codes.loc[counts.index].to_numpy(dtype=np.float64)
    return {str(name): float(mean) for name, mean in zip(codes, means, strict=True)}


def _agreement(test: PseudoOutcomes, coder: AttributeCoder) -> dict[str, float | None]:
    """Correlation of the coder's attributes with those of people, over distinct texts; empty if no name is shared."""
    data = test.dataset
    first = ~pd.Series(data.texts).duplicated().to_numpy()
    texts = [text for text, once in zip(data.texts, first, strict=True) if once]
    try:
        found = agreement(coder, texts, data.attributes[first])
    except DataError:
        return {}
    return {str(name): None if pd.isna(value) else float(value) for name, value in found.items()}
