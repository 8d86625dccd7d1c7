"""What each sentence of the grammar does on average, and how often it is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalopt.simulation.enumerated import standardised
from causalopt.simulation.grammar import SLOTS, sentences
from causalopt.typing import Float64, Int64

LEVEL = 5.0
"""Mean outcome, on a scale that is roughly 0 to 10."""
SLOT_EFFECT = {"greeting": 0.10, "appeal": 0.60, "evidence": 0.35, "ask": 0.25, "tone": 0.15}
"""Standard deviation of each slot's effect over its phrases, outcome units."""
PREFERENCE = 0.25
"""Standard deviation of the log-odds with which writers prefer one phrase of a slot to another."""


@dataclass(frozen=True)
class SentenceEffects:
    """Effects of k sentences, outcome units.

    Attributes
    ----------
    texts, phrase:
        From `causalopt.simulation.grammar.sentences`.
    score:
        For each slot the standardised effect of the phrase in it, shape [k].
    additive, total:
        The sum of the phrases' effects, and with the interaction of appeal and tone, shape [k].
    preference:
        log p0(x) up to a constant, shape [k], nats.
    """

    texts: list[str]
    phrase: Int64
    score: dict[str, Float64]
    additive: Float64
    total: Float64
    preference: Float64

    def taste(self, rng: np.random.Generator) -> Float64:
        """Draw a standardised score additive in the phrases and uncorrelated with their effects, shape [k]."""
        drawn = _over_slots(self.phrase, [rng.standard_normal(len(phrases)) for phrases in SLOTS.values()])
        effect = standardised(self.additive)
        return standardised(drawn - (drawn @ effect) / len(effect) * effect)


def draw_effects(interaction: float, rng: np.random.Generator) -> SentenceEffects:
    """Draw which phrases work and which are preferred; ``interaction`` is a standard deviation, outcome units."""
    texts, phrase = sentences()
    score = {
        slot: rng.permutation(standardised(np.linspace(-1, 1, len(phrases))))[phrase[:, j]]
        for j, (slot, phrases) in enumerate(SLOTS.items())
    }
    additive = sum((SLOT_EFFECT[slot] * score[slot] for slot in SLOTS), np.zeros(len(texts)))
    preference = _over_slots(phrase, [rng.normal(0, PREFERENCE, len(phrases)) for phrases in SLOTS.values()])
    return SentenceEffects(
        texts, phrase, score, additive, additive + interaction * score["appeal"] * score["tone"], preference
    )


def _over_slots(phrase: Int64, values: list[Float64]) -> Float64:
    """Sum over the slots of the value that the phrase in it has, shape [k]."""
    return np.asarray(sum((of[phrase[:, j]] for j, of in enumerate(values)), np.zeros(len(phrase))))
