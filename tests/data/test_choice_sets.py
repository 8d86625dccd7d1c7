"""Candidates of each prompt as ragged arrays."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.data.choice_sets import ChoiceSets
from causalopt.errors import DataError


def test_logged_sets_sum_the_exposure_of_repeated_rows():
    prompts, texts = ["a", "b", "a", "a", "b"], ["x", "x", "y", "x", "z"]
    sets = ChoiceSets.logged(prompts, texts, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert sets.prompts == ("a", "b")
    assert sets.texts == ("x", "y", "x", "z")
    assert sets.start.tolist() == [0, 2, 4]
    assert sets.exposure.tolist() == [5.0, 3.0, 2.0, 5.0]
    assert sets.index_of(prompts, texts).tolist() == [0, 2, 1, 0, 3]
    candidate, of_prompt = sets.candidates_of(["b", "a", "b"])
    assert candidate.tolist() == [2, 3, 0, 1, 2, 3]
    assert of_prompt.tolist() == [0, 0, 1, 1, 2, 2]


def test_more_prompts_are_appended_and_known_ones_do_not_change():
    sets = ChoiceSets.listed({"a": ["x", "y"]})
    new = ChoiceSets.listed({"a": ["other", "texts"], "b": ["x", "z", "u"]}).without(sets)
    assert new is not None
    assert new.prompts == ("b",)
    both = sets.with_more(new)
    assert both.index_of(["a", "b"], ["y", "u"]).tolist() == [1, 4]
    assert new.without(both) is None


def table(prompts, texts_of):
    pairs = [(str(c), text) for c in range(prompts) for text in texts_of(c)]
    return ChoiceSets.logged([c for c, _ in pairs], [text for _, text in pairs])


def test_the_data_say_whether_prompts_have_candidates_of_their_own():
    assert table(30, lambda c: [f"{c} one", f"{c} two"]).own()
    assert not table(30, lambda c: [f"shared {k}" for k in range(8)]).own()  # all texts answer all prompts
    assert not table(30, lambda c: [f"only {c}"]).own()  # unique prompts: nothing to choose among
    assert not table(1, lambda c: ["x", "y"]).own()
    # One text of the shop that every prompt also got leaves the others the prompts' own.
    assert table(30, lambda c: [f"{c} one", f"{c} two", "hello"]).own()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ChoiceSets.listed({"a": ["x", "x"]}), "the candidates of prompt 'a' list 'x' twice"),
        (lambda: ChoiceSets.listed({"a": []}), "the prompt 'a' has no candidate"),
        (lambda: ChoiceSets.listed({"a": ["x", "y"]}).index_of(["a"], ["z"]), "'z' is not among the 2 candidates"),
        (lambda: ChoiceSets.listed({"a": ["x", "y"]}).index_of(["b"], ["x"]), "no candidates are known for the prompt"),
    ],
)
def test_errors_name_prompt_and_text(act, message):
    with pytest.raises(DataError, match=message):
        act()
