from dataclasses import replace

import numpy as np
import pytest

from causalopt.diagnostics.verdict import not_to_be_relied_on
from causalopt.evaluation import Estimate, judge, overlap, thin_overlap, verdict

GOOD = overlap(np.random.default_rng(0).normal(0, 0.3, 1000))
THIN = overlap(np.random.default_rng(0).normal(0, 3.0, 1000))


def difference(value):
    return Estimate(value, np.random.default_rng(0).normal(size=1000))


@pytest.mark.parametrize(
    ("value", "direction", "words"),
    [
        (1.0, "maximize", "is better than"),
        (-1.0, "maximize", "is worse than"),
        (1.0, "minimize", "is worse than"),
        (-1.0, "minimize", "is better than"),
        (0.01, "maximize", "do not show"),
        (0.01, "minimize", "do not show"),
    ],
)
def test_the_sentence_follows_the_interval_and_the_direction(value, direction, words):
    text = verdict(difference(value), GOOD, outcome="rating", direction=direction)
    assert words in text
    assert "rating" in text
    assert f"{value:+.4g}" in text
    assert "Overlap" not in text


def test_thin_overlap_is_said_first():
    text = verdict(difference(1.0), THIN)
    assert text.startswith("Overlap is thin: 1,000 logged rows count as ")
    assert thin_overlap(GOOD) is None


def test_an_interval_on_a_handful_of_effective_texts_decides_nothing():
    few = overlap(np.random.default_rng(0).normal(0, 3.0, 1000))
    assert few.ess < 20
    text = verdict(difference(1.0), few, robustness_value=0.5)
    assert "do not show" in text
    assert "fewer than 20 effective rows is not to be relied on" in text
    assert "hidden" not in text


def test_a_heavy_tail_is_thin_too():
    uniform = (np.arange(5000) + 0.5) / 5000
    heavy = overlap(np.log(1 + 0.05 * uniform**-0.9))  # most weights near 1, and a Pareto tail of shape 0.9
    assert heavy.ess_fraction > 0.1
    assert "a few of 5,000 logged rows carry the answer (tail shape 0.8" in (thin_overlap(heavy) or "")


def test_robustness_is_said_only_of_a_finding():
    assert "12.3%" in verdict(difference(1.0), GOOD, robustness_value=0.123)
    assert "hidden" not in verdict(difference(0.0), GOOD, robustness_value=0.0)


def test_thin_is_counted_in_what_was_drawn():
    """Many readings of few texts: thousands of rows, and a handful of texts that carry the weight."""
    rng = np.random.default_rng(1)
    for texts, rows in ((40, 60), (90, 30)):
        z, text = 1.2 * rng.normal(size=texts), np.repeat(np.arange(texts), rows)
        by_row, by_text = overlap(z[text]), overlap(z[text], cluster=text, unit="texts")
        assert thin_overlap(by_row) is None
        said = thin_overlap(by_text) or ""
        assert said == (
            f"Overlap is thin: {texts} logged texts ({texts * rows:,} rows) count as {by_text.ess:.0f} for this policy."
        )
        found = judge(difference(1.0), by_text)
        assert found.thin
        assert (found.outlook == "unclear") == (by_text.ess < 20)
    assert (
        "fewer than 20 effective texts" in judge(difference(1.0), overlap(z[text] * 2, cluster=text, unit="texts")).text
    )


def test_what_is_barred_is_never_a_gain_and_is_said_first():
    found = judge(difference(1.0), THIN, notes=["A note."], barred=["The fit of q is bad."], robustness_value=0.5)
    assert found.outlook == "unclear"
    assert found.text.startswith("The fit of q is bad. Overlap is thin: ")
    assert "A note. The data do not show whether the policy is better or worse" in found.text
    assert "hidden cause" not in found.text
    noted = judge(difference(1.0), GOOD, notes=["A note."])
    assert noted.outlook == "better"
    assert noted.text.startswith("A note. The policy is better")
    assert not noted.thin
    assert judge(difference(1.0), GOOD, barred=["The fit of q is bad."]).outlook == "unclear"


def test_fewer_than_twenty_are_too_few_though_all_of_them_count():
    few, enough = (judge(difference(1.0), overlap(np.zeros(n))) for n in (19, 21))
    assert (few.thin, few.outlook) == (True, "unclear")
    assert (enough.thin, enough.outlook) == (False, "better")


def test_half_of_two_arms_is_not_thin():
    arm = np.where(np.arange(120) % 2 == 0, 0.0, -60.0)
    assert thin_overlap(overlap(arm)) is None
    assert thin_overlap(overlap(np.tile(arm, 5), cluster=np.tile(np.arange(120), 5), unit="readers")) is None


def test_weights_that_resemble_another_policy_are_thin_overlap():
    even = overlap(np.zeros(300))
    assert thin_overlap(replace(even, unbalanced=0.25)) is None
    far = replace(even, unbalanced=0.58)
    for said in (thin_overlap(far), not_to_be_relied_on(far)):
        assert said is not None
        assert "58% of what tells this policy from the reference" in said
    assert judge(difference(1.0), replace(GOOD, unbalanced=0.25)).outlook == "better"
    assert judge(difference(1.0), replace(GOOD, unbalanced=0.58)).outlook == "unclear"
