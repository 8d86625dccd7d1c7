"""The closing lines: what they say of each kind of result, in words that the glossary holds."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest

from causalopt.run.answers import answers

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"
BASE = {
    "outcome": "RATING",
    "level": 0.95,
    "outlook": "better",
    "thin": False,
    "barred": [],
    "reasons": [],
    "kl": 0.25,
    "value": {
        "reference": {"estimate": 3.0},
        "policy": {"estimate": 3.5},
        "difference": {"estimate": 0.5, "ci_low": 0.25, "ci_high": 0.75},
    },
    "overlap": {"ess": 80.4, "clusters": 1200, "unit": "texts"},
    "policies": {"policy": "ONE", "reference": "OTHER"},
    "data": {"covariates": ["age"]},
    "evidence": {"robustness_value_interval": 0.12},
    "truth": {"difference": 0.6},
    "comparisons": {"NAIVE": {"value": {"difference": {"estimate": -1, "ci_low": -2, "ci_high": 0}}, "truth": None}},
}
KINDS = {
    "better": {},
    "worse": {"outlook": "worse"},
    "unclear": {"outlook": "unclear"},
    "thin": {"thin": True, "reasons": ["THIN.", "NOTE."]},
    "barred": {"outlook": "unclear", "barred": ["BARRED."], "reasons": ["BARRED.", "NOTE."]},
    "randomised": {"data": {"covariates": []}},
    "reference": {"outlook": "unclear", "frontier": {"chosen": 0.0}},
    "no distance": {"kl": None},
}
# Words of everyday English that the lines use; any other must be a term of the glossary.
PLAIN = re.findall(
    r"\w+",
    """
    a and answer apart as at be better both can cannot certainty compared count data each everybody explain
    found for from have holds if in is it itself keep left little no not nothing of or read reading responding
    shown since than that the this to true undo unexplained was what whether which with without worse would were
    """,
)


def lines(kind: str, directory: Path | None = Path("RUN")) -> list[str]:
    return answers({**deepcopy(BASE), **KINDS[kind]}, directory).lines()


def test_what_is_said_of_each_kind():
    better = lines("better")
    assert better[0].startswith("1. If everybody read texts from this model, RATING would be 3.5 and not 3 ")
    assert "+0.5 (95% interval +0.25 to +0.75). The model is better." in better[0]
    assert "true difference is +0.6" in better[0]
    assert "80 of 1,200 logged texts count" in better[1]
    assert "12% of what is left unexplained" in better[1]
    assert better[2] == f"3. The better model is in {Path('RUN/policy')}, 0.25 nats (KL) from the reference."
    assert "NAIVE: -1 (95% interval -2 to +0)" in better[3]
    assert "Keep the reference" in lines("worse")[2]
    assert "not shown to be better" in lines("unclear")[2]
    assert "unexplained" not in lines("unclear")[1]
    assert "little certainty. THIN. NOTE." in lines("thin")[1]
    assert "cannot answer that: BARRED. NOTE." in lines("barred")[1]
    assert "shown at random" in lines("randomised")[1]
    assert "No better model was found" in lines("reference")[2]
    assert "+0.5" not in lines("reference")[0]
    assert "nats" not in lines("no distance")[2]
    assert lines("better", None)[2] == "3. The model is ONE, and the reference OTHER, 0.25 nats (KL) apart."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directory", [Path("RUN"), None])
def test_no_word_but_plain_ones_and_those_of_the_glossary(kind, directory):
    terms = {
        word
        for heading in re.findall(r"^\*\*(.+)\*\*", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for word in re.findall(r"[a-z]+", heading.lower())
    }
    assert len(re.findall(r"^\*\*.+\*\*", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)) >= 25
    # What is in capitals stands for names that a user chose.
    text = " ".join(lines(kind, directory)).replace("RUN/policy", "").replace("RUN/reference", "")
    for word in re.findall(r"[a-z]+", re.sub(r"\b[A-Z]{3,}\b", "", text).lower()):
        assert word in PLAIN or word in terms, word
