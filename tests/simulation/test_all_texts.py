"""The truth of any text: the old one on the world's sentences, by hand on odd ones, and as a policy's value.

The statistical test has a fixed seed; were it drawn anew, it would fail with the probability that it states.
"""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.backends.finite import FinitePolicy
from causalopt.errors import ConfigError
from causalopt.simulation import (
    AnyTextWorld,
    ContaminatedWorld,
    FiniteWorld,
    LoggedTrafficWorld,
    TemplateWorld,
    value_of_all_texts,
)
from causalopt.simulation.grammar import SLOTS, phrase_shares, sentences
from causalopt.simulation.sentence_effects import SLOT_EFFECT
from causalopt.typing import Float64

ODD: dict[str, tuple[str, dict[str, list[str]]]] = {
    "none of the slots": ("", {}),
    "words but no phrase": ("coins meals,us spare", {}),
    "two slots missing, and a mark": (
        "Hello friend, our shelter turns forty, join us monthly",
        {"greeting": ["Hello friend,"], "appeal": ["our shelter turns forty:"], "ask": ["join us monthly"]},
    ),
    "two greetings": (
        "Good morning,Dear neighbor, this winter looks harsh: auditors praise every account, "
        "join us monthly only if able.",
        {
            "greeting": ["Good morning,", "Dear neighbor,"],
            "appeal": ["this winter looks harsh:"],
            "evidence": ["auditors praise every account,"],
            "ask": ["join us monthly"],
            "tone": ["only if able."],
        },
    ),
    "two appeals, one of them twice, two tones, part of an ask": (
        "Hello friend, our shelter turns forty: generous people sleep better: our shelter turns forty: "
        "nine gifts in ten arrive, twenty coins with warm thanks. together we win.",
        {
            "greeting": ["Hello friend,"],
            "appeal": ["our shelter turns forty:", "generous people sleep better:"],
            "evidence": ["nine gifts in ten arrive,"],
            "tone": ["with warm thanks.", "together we win."],
        },
    ),
}
"""Texts that are no sentence, with the phrases that a reader finds."""
ODD_TEXTS = [text for text, _ in ODD.values()]


@pytest.fixture(
    scope="module", params=[TemplateWorld(seed=3, interaction=0.4), ContaminatedWorld(seed=3, interaction=0.4)]
)
def world(request: pytest.FixtureRequest) -> AnyTextWorld:
    return request.param


def policy_of(texts: list[str], share: Float64) -> FinitePolicy:
    return FinitePolicy(texts, np.log(share), np.zeros((len(texts), 1)), np.zeros(1))


def by_hand(world: AnyTextWorld, phrases: dict[str, list[str]]) -> float:
    """Mean of g over the sentences made of ``phrases``, any of a slot's where it names none: no code of the module's.

    A text's phrases count alike, slot by slot, which is the mean over the sentences that they make.
    """
    texts, phrase = sentences()
    inside = np.ones(len(texts), dtype=bool)
    for j, slot in enumerate(SLOTS):
        if phrases.get(slot):
            inside &= np.isin(phrase[:, j], [SLOTS[slot].index(each) for each in phrases[slot]])
    return float(world.true_dose_response(texts)[inside].mean())


def test_which_worlds_know_any_text(world: AnyTextWorld) -> None:
    assert isinstance(world, AnyTextWorld)
    assert not isinstance(FiniteWorld(), AnyTextWorld)
    assert not isinstance(LoggedTrafficWorld(), AnyTextWorld)


def test_a_sentence_has_its_own_phrases_and_no_other() -> None:
    texts, phrase = sentences()
    for j, shares in enumerate(phrase_shares(texts).values()):
        np.testing.assert_array_equal(shares, np.eye(shares.shape[1])[phrase[:, j]])


def test_on_the_worlds_sentences_it_is_the_truth_as_it_was(world: AnyTextWorld) -> None:
    np.testing.assert_array_equal(world.true_dose_response_of_any(world.texts), world.true_dose_response(world.texts))
    alone = [world.true_dose_response_of_any([text])[0] for text in world.texts[::97]]
    np.testing.assert_allclose(alone, world.true_dose_response(world.texts[::97]), rtol=1e-13)


def test_the_truth_of_sentences_did_not_move() -> None:
    """Numbers of the commit before any other text had a truth."""
    world = TemplateWorld(seed=0)
    np.testing.assert_allclose(
        [world.dose_response[[0, 777, 1799]], ContaminatedWorld(seed=0).dose_response[[0, 777, 1799]]],
        [
            [5.329454540627454, 5.585398738630012, 4.750427281227115],
            [5.325954540627458, 5.581898738630012, 4.746927281227117],
        ],
        rtol=1e-12,
    )


@pytest.mark.parametrize(("text", "phrases"), list(ODD.values()), ids=list(ODD))
def test_odd_texts_by_hand(world: AnyTextWorld, text: str, phrases: dict[str, list[str]]) -> None:
    assert world.true_dose_response_of_any([text])[0] == pytest.approx(by_hand(world, phrases), abs=1e-12)


def test_what_two_asks_do_is_between_them() -> None:
    """The standardised scores of four phrases are (-1.5, -0.5, 0.5, 1.5) / sqrt(1.25) in some order."""
    world = TemplateWorld(seed=0, interaction=0.0)
    each = world.true_dose_response_of_any(list(SLOTS["ask"])) - world.true_dose_response_of_any([""])
    np.testing.assert_allclose(
        sorted(each), SLOT_EFFECT["ask"] * np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25), atol=1e-12
    )
    both = world.true_dose_response_of_any([f"{SLOTS['ask'][0]} and {SLOTS['ask'][3]}"])
    np.testing.assert_allclose(both - world.true_dose_response_of_any([""]), (each[0] + each[3]) / 2, atol=1e-12)


def test_the_value_of_all_that_a_policy_writes(world: AnyTextWorld) -> None:
    """Brute force over a policy that writes odd texts a third of the time: |z| below 5 fails once in two million."""
    rng = np.random.default_rng(0)
    texts = [*world.texts, *ODD_TEXTS]
    share = np.concatenate([rng.dirichlet(np.ones(1800)) * 2 / 3, rng.dirichlet(np.ones(len(ODD_TEXTS))) / 3])
    policy = policy_of(texts, share)
    expected = float(share @ world.true_dose_response_of_any(texts))
    found = value_of_all_texts(world, policy, policy.sample(None, 4000, seed=1))
    g = world.true_dose_response_of_any(ODD_TEXTS)
    spread = np.sqrt(3 * share[1800:] @ (g - 3 * share[1800:] @ g) ** 2)
    assert found.se == pytest.approx(spread / 3 / np.sqrt(4000 / 3), rel=0.1)
    assert abs(found.value - expected) < 5 * found.se
    # The test can see a part that is dropped: the exact part alone is further away than it allows.
    assert abs(world.true_value(policy).value - expected) > 20 * found.se
    assert found == value_of_all_texts(world, policy, policy.sample(None, 4000, seed=1))
    assert found != value_of_all_texts(world, policy, policy.sample(None, 4000, seed=2))


def test_a_policy_that_writes_the_worlds_texts_alone_has_its_exact_value(world: AnyTextWorld) -> None:
    share = np.random.default_rng(0).dirichlet(np.ones(1800))
    policy = policy_of(world.texts, share)
    found = value_of_all_texts(world, policy, policy.sample(None, 10, seed=0))
    assert found.value == pytest.approx(world.true_value(policy).value, abs=1e-12)
    assert found.se == pytest.approx(0, abs=1e-12)


def test_texts_too_rare_to_be_drawn_still_have_an_error(world: AnyTextWorld) -> None:
    share = np.concatenate([np.full(1800, 0.999 / 1800), [0.001]])
    policy = policy_of([*world.texts, ""], share)
    found = value_of_all_texts(world, policy, policy.sample(None, 2, seed=0))
    assert found.se == pytest.approx(0.001 * world.true_dose_response(world.texts).std(ddof=1))
    assert abs(found.value - share @ world.true_dose_response_of_any([*world.texts, ""])) < 5 * found.se


def test_no_draws_are_refused(world: AnyTextWorld) -> None:
    with pytest.raises(ConfigError, match="at least one text that was drawn"):
        value_of_all_texts(world, policy_of(world.texts, np.full(1800, 1 / 1800)), [])
