from __future__ import annotations

import pytest

from causalopt.digits import interval
from causalopt.report import text


def metrics(low: float, high: float, direction: str = "maximize", **more: object) -> dict[str, object]:
    difference = {"estimate": (low + high) / 2, "ci_low": low, "ci_high": high}
    return {"outcome": "anger", "direction": direction, "value": {"difference": difference}, **more}


@pytest.mark.parametrize("outlook", ["better", "worse", "unclear"])
def test_what_the_run_judged_is_shown_and_not_judged_again(outlook: str) -> None:
    """An interval that says otherwise changes nothing."""
    judged = metrics(-0.8, -0.2, outlook=outlook, thin=False, verdict="As it was judged.")
    assert text.headline(judged) == "As it was judged."
    assert text.outlook(judged) == outlook
    closing = {"better": "is better.", "worse": "is worse.", "unclear": "or from a loss."}[outlook]
    judged["value"] |= {key: {"estimate": 1.0, "ci_low": 0.0, "ci_high": 2.0} for key in ("reference", "policy")}
    assert text.answer(judged).endswith(closing)
    assert text.outlook({**judged, "thin": True}) == "thin"


def test_a_run_that_recorded_no_verdict_gets_none() -> None:
    line = text.headline(metrics(0.2, 0.8))
    assert line == "This run recorded no verdict. The difference in anger is 0.50 (95% interval 0.20 to 0.80)."
    assert text.outlook(metrics(0.2, 0.8)) == "unclear"


def test_a_bound_that_is_not_zero_is_not_printed_as_zero() -> None:
    assert interval({"estimate": 0.3, "ci_low": 0.004, "ci_high": 0.6}) == ("0.300", "0.004", "0.600")


def test_assumptions_name_the_covariates_and_the_density() -> None:
    named = dict(text.assumptions({"data": {"covariates": ["age", "party"]}, "behavior_policy": "reference"}))
    assert "Given age, party" in named["No unmeasured confounding"]
    assert "reference model" in named["Overlap"]
    assert "assigned at random" in dict(text.assumptions({}))["No unmeasured confounding"]
