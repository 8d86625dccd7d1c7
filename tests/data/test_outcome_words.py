"""Scales of words that are numbered in their order."""

from __future__ import annotations

import pytest

from causalopt.data.outcome_words import propose_map

SCALES = [
    ["Strongly disagree", "Disagree", "Somewhat disagree", "Neither agree nor disagree", "Somewhat agree", "Agree",
     "Strongly agree"],
    ["very dissatisfied", "dissatisfied", "neutral", "satisfied", "very satisfied"],
    ["Extremely unlikely", "Unlikely", "Likely", "Extremely likely"],
    ["Very poor", "Poor", "Fair", "Good", "Very good", "Excellent"],
    ["never", "rarely", "sometimes", "often", "always"],
    ["not at all", "slightly", "moderately", "very", "extremely"],
]  # fmt: skip


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: scale[0])
def test_a_scale_is_numbered_from_its_lowest_word(scale: list[str]) -> None:
    assert propose_map(reversed(scale)) == {word: float(i) for i, word in enumerate(scale, start=1)}  # type: ignore[arg-type]
    assert list(propose_map(scale) or {}) == scale


@pytest.mark.parametrize(("words", "found"), [
    (["4 - good", "5 - great", "-1: no answer"], {"-1: no answer": -1.0, "4 - good": 4.0, "5 - great": 5.0}),
    (["4 - good", "4 - fine"], None),
    (["yes", "maybe", "no"], None),
    (["Agree", "agree "], None),
    (["Agree", "Satisfied"], None),
    (["yes"], None),
])  # fmt: skip
def test_what_is_no_scale_is_not_numbered(words: list[str], found: dict[str, float] | None) -> None:
    assert propose_map(words) == found
