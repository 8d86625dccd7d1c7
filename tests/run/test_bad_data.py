"""Data that cannot answer, through the command line: one named line with the number, and never a nan."""

from __future__ import annotations

import json
import re
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.cli.main import main
from causalopt.errors import CausalOptWarning, DataError, OverlapError, OverlapWarning
from causalopt.estimators.names import ESTIMATORS
from causalopt.evaluation.evaluate import evaluate
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy
from causalopt.run.metrics import evaluation_metrics

TEXTS = [f"{a} {b} {c}" for a in ("help", "give") for b in ("now", "soon") for c in ("we", "you", "all")]


def table(n=160, texts=12):
    rng = np.random.default_rng(0)
    shown = rng.integers(texts, size=n)
    frame = pd.DataFrame({"text": np.array(TEXTS)[shown], "age": rng.normal(size=n), "row": range(n), "exposure": 1.0})
    probability = np.linspace(0.7, 1.3, texts) / texts
    frame["log_q"], frame["log_f"] = -np.log(texts), np.log(probability)[shown]
    frame["log_p"] = frame["log_q"]
    frame["drawn"] = rng.choice(TEXTS[:texts], n, p=probability)
    frame["resp"] = frame["age"] + rng.normal(size=n)
    return frame, shown


def settings(**changes):
    roles = {"group": "row", "covariates": ["age"], "behavior_log_prob": "log_q", "policy_log_prob": "log_f",
             "policy_text": "drawn", "outcome": "resp", **changes.pop("data", {})}  # fmt: skip
    made = {"outcome_model": "ridge", "evaluation.benchmark": [], **changes}
    return {**{f"data.{key}": value for key, value in roles.items()}, **made}


@pytest.fixture
def estimated(tmp_path, monkeypatch, capsys):
    """Run `causalopt estimate` on a table: the exit code, what it said, and the numbers as text if there are any."""

    def call(frame, **changes):
        path, out = tmp_path / "table.csv", tmp_path / "found.json"
        frame.to_csv(path, index=False)
        given = [word for key, value in settings(**changes).items() for word in ("--set", f"{key}={json.dumps(value)}")]
        monkeypatch.setattr(sys, "argv", ["causalopt", "estimate", str(path), *given, "--out", str(out)])
        shown = warnings.catch_warnings(action="always", category=CausalOptWarning)  # as outside of a test
        with shown, pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return ended.value.code, said, out.read_text() if out.exists() else None

    return call


def finite(text):
    numbers = json.loads(text)
    assert "NaN" not in text
    assert "Infinity" not in text
    for row in numbers["estimates"]:
        assert np.isfinite([row["estimate"], row["se"], row["ci_low"], row["ci_high"]]).all()
    return numbers


def separated(frame, shown):
    return frame.assign(age=np.where(shown % 2, 1.0, -1.0) * (0.1 + frame["age"].abs()))


def only(column, other, kept):
    """Every row of ``column`` is ``other``, but one."""
    return lambda frame, _: frame.assign(**{column: np.where(frame["row"] == 3, kept, other)})


WARNED = {
    "no probability on the logged texts": (
        {}, lambda f, _: f.assign(log_f=-900.0), {}, r"have mean exp\(-898\) but should have mean 1",
    ),
    "folds of one group": (
        {"texts": 5}, lambda f, _: f, {"data": {"group": "text"}}, "5 of 5 folds of repeat 0 hold a single group",
    ),
    "constant covariates": ({}, lambda f, _: f.assign(age=3.0), {}, "covariates that are constant were left out: age"),
    "separated arms": (
        {"texts": 2, "n": 240}, separated, {"assignment_model": "arms"},
        r"readers of 2 of the 2 texts from those of another text \(area under the curve (0\.99\d|1\.000)",
    ),
    "separated sets of texts": (
        {"n": 480}, separated, {}, r"readers of 12 of the 12 texts from those of another text .* in 36 of 66 pairs",
    ),
    "one weight of assignment": (
        {}, only("log_p", -1000.0, -1.0), {"data": {"assignment_log_prob": "log_p"}, "assignment_model": "logged"},
        r"100\.0% of the mass of the stabilized weights was cut at max_weight 20 \(99\.4% of the rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_a_named_warning_with_the_number(estimated, case):
    size, change, changes, message = WARNED[case]
    code, said, found = estimated(change(*table(**size)), **changes)
    assert code == 0
    assert re.search(message, said), said
    assert any(re.search(message, one) for one in finite(found)["warnings"])


REFUSED = {
    "log-probability of minus infinity": (
        {}, lambda f, _: f.assign(log_f=-np.inf), {},
        "gives probability zero to all 160 logged texts",
    ),
    "one group": (
        {}, lambda f, _: f.assign(person="a"), {"data": {"group": "person"}},
        "all rows are of one group .* name a group column with more groups",
    ),
    "one ratio": (
        {}, only("log_f", -800.0, -1.0), {}, r"one of 160 logged texts carries the whole weight \(effective",
    ),
    "exposures of zero": (
        {}, only("exposure", 0.0, 1.0), {"data": {"weight": "exposure"}}, r"weight must be positive \(159 such rows\)",
    ),
    "one exposure": (
        {}, only("exposure", 1e-12, 1.0), {"data": {"weight": "exposure"}}, "one of 160 logged texts carries the whole",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_named_error_with_the_number(estimated, case):
    size, change, changes, message = REFUSED[case]
    code, said, found = estimated(change(*table(**size)), **changes)
    assert code == 2
    assert re.search(message, [line for line in said.splitlines() if line.startswith("error: ")][-1]), said
    assert found is None


def test_more_dimensions_and_covariates_than_rows(estimated):
    frame, _ = table(n=30)
    noise = np.random.default_rng(1).normal(size=(30, 40))
    wide = pd.concat([frame, pd.DataFrame(noise, columns=[f"c{k}" for k in range(40)])], axis=1)
    code, said, found = estimated(wide, data={"covariates": [f"c{k}" for k in range(40)]})
    assert code == 0
    assert re.search(r"10 logged texts \(30 rows\) count as \d+ for this policy", said)
    finite(found)


def test_too_few_texts_for_a_ratio_in_embedding_space_leave_the_others(estimated):
    frame, _ = table(texts=2)
    code, _, found = estimated(frame, assignment_model="randomized")
    assert code == 0
    numbers = finite(found)
    assert set(numbers["not_computed"]) == {"mips", "mdr"}
    assert "5 folds cannot be made of 2 groups" in numbers["not_computed"]["mips"]
    assert {row["estimator"] for row in numbers["estimates"]} == set(ESTIMATORS) - {"mips", "mdr"}


def test_a_policy_that_writes_one_text(estimated):
    """Its texts are all of one fold: the classifier would see none of them on the others."""
    frame, _ = table()
    code, _, found = estimated(frame.assign(drawn=TEXTS[0]))
    assert code == 0
    assert "are 1 distinct ones, all of one fold" in finite(found)["not_computed"]["mdr"]


def test_what_was_warned_of_before_an_error_is_said(estimated):
    frame, shown = table(texts=2, n=240)
    frame = only("log_f", -800.0, -1.0)(separated(frame, shown), shown)
    code, said, _ = estimated(frame)
    assert code == 2
    assert "readers of 2 of the 2 texts" in said


def dataset(frame):
    roles = {"outcome": "resp", "covariates": ["age"], "group": "row"}
    return co.DirectOutcomeDataset.from_frame(
        frame, **roles, behavior_log_prob="log_q", policy_log_prob="log_f", policy_text="drawn"
    )


@pytest.mark.parametrize("name", ["m", "g", "s", "fold"])
def test_nuisances_of_the_wrong_length(name):
    frame, _ = table()
    given = {"m": np.zeros(160), "g": np.zeros(160), "s": np.ones(160), "fold": np.arange(160) % 4}
    given[name] = given[name][:150]
    with pytest.raises(DataError, match=rf"{name} has (150 rows, where the other arrays have 160|shape \(150,\))"):
        co.PseudoOutcomeEstimator().fit_transform(dataset(frame), **given)


def test_weights_from_outside_that_are_all_but_one_next_to_zero():
    frame, _ = table()
    s = np.full(160, 1e-300)
    s[3] = 1.0
    with pytest.warns(OverlapWarning, match=r"160 rows count as 1\.0 under the stabilized weights"):
        pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(dataset(frame), s=s)
    assert np.isfinite(pseudo.xi).all()
    with pytest.raises(DataError, match="s is not positive at row 0"):
        co.PseudoOutcomeEstimator().fit_transform(dataset(frame), s=np.where(s < 1, 0.0, s))


def test_no_overlap_through_the_functions():
    """As the command line, from Python: a policy with a single text of weight has no value that could be told."""
    frame, shown = table()
    data = dataset(only("log_f", -800.0, -1.0)(frame, shown))
    pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized").fit_transform(data)
    with (
        warnings.catch_warnings(record=True, action="always") as caught,
        pytest.raises(OverlapError, match=r"one of 160 logged texts carries the whole weight"),
    ):
        evaluate(ExternalPolicy(), pseudo, reference=LoggedPolicy(), estimators=ESTIMATORS)
    assert any("dr: 12 clusters of 160 logged texts count as 1.0" in str(one.message) for one in caught)


def test_without_a_stabilized_weight_nothing_is_concluded_and_that_is_the_first_thing_said():
    class Half:
        """An assignment model whose weights have mean one half."""

        def fit(self, x, w, weight):
            return self

        def stabilized_weight(self, x, w):
            return np.full(len(x), 0.5)

    frame, shown = table()
    data = dataset(frame.assign(resp=10.0 * (shown > 5) + frame["resp"]))
    with warnings.catch_warnings(action="ignore", category=CausalOptWarning):
        pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model=Half()).fit_transform(data)
        found = evaluate(ExternalPolicy(), pseudo, reference=LoggedPolicy(), estimators=["sndr"])
        balanced = evaluate(ExternalPolicy(), pseudo, reference=LoggedPolicy())
    assert (balanced.estimator, balanced.barred) == ("balance", ())  # its weights need no assignment model
    metrics = evaluation_metrics(found, data)
    assert metrics["outlook"] == "unclear"
    assert metrics["verdict"].startswith("Assignment model Half: the mean of its weights is 0.5")
    assert "outcome model alone" in metrics["barred"][0]
