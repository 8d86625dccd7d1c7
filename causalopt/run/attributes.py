"""The effects of the texts' attributes in a run: those that people coded, or those of the embedder's coder."""

from __future__ import annotations

from typing import Any

import pandas as pd

from causalopt.diagnostics.attribute_effects import attribute_effects
from causalopt.embedding.coded_attributes import CodedAttributesEmbedder, agreement, coded
from causalopt.errors import DataError
from causalopt.pseudo_outcome import PseudoOutcomes


def attribute_metrics(pseudo: PseudoOutcomes, level: float) -> dict[str, Any] | None:
    """Effects of attributes on the response to the logged texts of n rows, as plain numbers; None without attributes.

    Attributes that people coded (``data.attributes``) come before those of a coder, with which they are compared.
    """
    data, embedder = pseudo.dataset, None if pseudo.models is None else pseudo.models.embedder
    coder = embedder.coding if isinstance(embedder, CodedAttributesEmbedder) else None
    people = data.attributes if data.attributes.shape[1] else None
    if people is None and coder is None:
        return None
    alike: dict[str, float | None] | None = None
    if people is not None and coder is not None:
        first = ~pd.Series(data.texts).duplicated().to_numpy()
        texts = [text for text, once in zip(data.texts, first, strict=True) if once]
        try:
            found = agreement(coder, texts, people[first])
            alike = {str(name): None if pd.isna(value) else float(value) for name, value in found.items()}
        except DataError:  # they share no name
            alike = {}
    if people is None:
        assert coder is not None
        people = coded(coder, data.texts)
    effects = attribute_effects(
        people, pseudo.xi, data.outcome, weight=data.weight, cluster=data.cluster(), level=level
    )
    return {
        "coded_by": "people" if data.attributes.shape[1] else "the coder",
        "level": level,
        "effects": effects.astype(object).where(effects.notna(), None).to_dict("records"),
        "agreement": alike,
    }
