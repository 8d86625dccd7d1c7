from __future__ import annotations

import pytest

from causalopt.report import text


def metrics(low: float, high: float, direction: str = "maximize", **more: object) -> dict[str, object]:
    difference = {"estimate": (low + high) / 2, "ci_low": low, "ci_high": high}
    return {"outcome": "anger", "direction": direction, "value": {"difference": difference}, **more}


@pytest.mark.parametrize(
    ("low", "high", "direction", "expected"),
    [
        (0.2, 0.8, "maximize", "better"),
        (-0.8, -0.2, "maximize", "worse"),
        (0.2, 0.8, "minimize", "worse"),
        (-0.8, -0.2, "minimize", "better"),
        (-0.1, 0.8, "maximize", "unclear"),
        (-0.1, 0.8, "minimize", "unclear"),
        (0.0, 0.8, "maximize", "unclear"),
        (float("nan"), float("nan"), "maximize", "unclear"),
    ],
)
def test_outlook_follows_the_direction(low: float, high: float, direction: str, expected: str) -> None:
    assert text.outlook(metrics(low, high, direction)) == expected
    line = text.verdict(metrics(low, high, direction))
    words = {"better": "model is better: anger would", "worse": "model is worse", "unclear": "do not show that"}
    assert words[expected] in line
    assert "nan" not in line


def test_verdict_says_which_way_the_outcome_moves() -> None:
    assert "anger would fall by 0.50 on average (95% interval −0.80 to −0.20)" in text.verdict(
        metrics(-0.8, -0.2, "minimize")
    )
    assert "covers zero (90% interval −0.10 to 0.80)" in text.verdict(metrics(-0.1, 0.8, level=0.9))


@pytest.mark.parametrize(
    ("overlap", "words"),
    [
        ({"ess": 12.0, "max_weight_share": 0.05, "pareto_k": 0.2}, "the 600 held-out rows count like 12"),
        ({"ess": 300.0, "max_weight_share": 0.4, "pareto_k": 0.2}, "one row carries 40% of the weight"),
        ({"ess": 300.0, "max_weight_share": 0.01, "pareto_k": 0.9}, "Pareto k 0.900"),
    ],
)
def test_thin_overlap_comes_first_even_before_the_runs_own_verdict(overlap: dict[str, float], words: str) -> None:
    thin = metrics(0.2, 0.8, overlap=overlap, data={"test_rows": 600})
    assert text.verdict(thin).startswith("Overlap is thin")
    assert words in text.verdict(thin)
    assert text.headline({**thin, "verdict": "It is better."}).startswith("Overlap is thin")
    assert text.headline({**thin, "verdict": "Too little overlap to say."}) == "Too little overlap to say."


def test_sound_or_unknown_overlap_is_not_called_thin() -> None:
    assert text.thin_overlap(metrics(0, 1, overlap={"ess": 300.0, "max_weight_share": 0.02, "pareto_k": 0.3})) == ""
    assert text.thin_overlap(metrics(0, 1, overlap={"ess": None, "pareto_k": float("nan")})) == ""
    assert text.thin_overlap(metrics(0, 1)) == ""


def test_a_bound_that_is_not_zero_is_not_printed_as_zero() -> None:
    assert text.interval({"estimate": 0.3, "ci_low": 0.004, "ci_high": 0.6}) == ("0.300", "0.004", "0.600")


def test_assumptions_name_the_covariates_and_the_density() -> None:
    named = dict(text.assumptions({"data": {"covariates": ["age", "party"]}}, "reference"))
    assert "Given age, party" in named["No unmeasured confounding"]
    assert "reference model" in named["Overlap"]
    assert "assigned at random" in dict(text.assumptions({}))["No unmeasured confounding"]
