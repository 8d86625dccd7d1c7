"""The average effect of each sentence of the grammar and of any other text, and how often sentences are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalopt.simulation.enumerated import standardised
from causalopt.simulation.grammar import SLOTS, phrase_shares, sentences
from causalopt.typing import Float64, Int64

LEVEL = 5.0
"""Mean outcome, on a scale of roughly 0 to 10."""
SLOT_EFFECT = {"greeting": 0.10, "appeal": 0.60, "evidence": 0.35, "ask": 0.25, "tone": 0.15}
"""Standard deviation of each slot's effect over its phrases, outcome units."""
PREFERENCE = 0.25
"""Standard deviation of the writers' preferences among the phrases of a slot, in log-odds."""


@dataclass(frozen=True)
class TextEffects:
    """Effects of n texts.

    Attributes
    ----------
    score:
        For each slot, the standardised effect of the phrase in it, shape [n].
    additive, total:
        The sum of the slots' effects without and with the interaction of appeal and tone, shape [n], outcome units.
    """

    score: dict[str, Float64]
    additive: Float64
    total: Float64


@dataclass(frozen=True)
class SentenceEffects:
    """Effects of the grammar's k sentences, and of any other text by the phrases that a reader finds in it.

    Attributes
    ----------
    texts, phrase:
        From `causalopt.simulation.grammar.sentences`.
    phrase_score:
        For each slot, the standardised effects of its phrases, with mean zero.
    interaction:
        Standard deviation of the interaction of appeal and tone, outcome units.
    preference:
        log p0(x) up to a constant, shape [k], nats.
    """

    texts: list[str]
    phrase: Int64
    phrase_score: dict[str, Float64]
    interaction: float
    preference: Float64

    def of(self, texts: Sequence[str]) -> TextEffects:
        """Effects of any texts.

        Shares of phrases are from `causalopt.simulation.grammar.phrase_shares`. A slot's score is the mean over the
        phrases found: zero if a text has none of them. The interaction is the mean over their pairs. This is the
        average response of readers who each pick one of the phrases found at random, or one of all if none is found.
        """
        shares = phrase_shares(texts)
        score = {slot: shares[slot] @ values for slot, values in self.phrase_score.items()}
        additive = sum((SLOT_EFFECT[slot] * score[slot] for slot in SLOTS), np.zeros(len(texts)))
        return TextEffects(score, additive, additive + self.interaction * score["appeal"] * score["tone"])

    def taste(self, rng: np.random.Generator) -> Float64:
        """Draw a standardised score that is additive in the phrases and uncorrelated with their effects, shape [k]."""
        drawn = _over_slots(self.phrase, [rng.standard_normal(len(phrases)) for phrases in SLOTS.values()])
        effect = standardised(self.of(self.texts).additive)
        return standardised(drawn - (drawn @ effect) / len(effect) * effect)


def draw_effects(interaction: float, rng: np.random.Generator) -> SentenceEffects:
    """Draw the phrases' effects and preferences; ``interaction`` is a standard deviation, outcome units."""
    texts, phrase = sentences()
    score = {slot: rng.permutation(standardised(np.linspace(-1, 1, len(phrases)))) for slot, phrases in SLOTS.items()}
    preference = _over_slots(phrase, [rng.normal(0, PREFERENCE, len(phrases)) for phrases in SLOTS.values()])
    return SentenceEffects(texts, phrase, score, interaction, preference)


def _over_slots(phrase: Int64, values: list[Float64]) -> Float64:
    """Sum, over the slots, of the value of the phrase in each, shape [k]."""
    return np.asarray(sum((of[phrase[:, j]] for j, of in enumerate(values)), np.zeros(len(phrase))))
