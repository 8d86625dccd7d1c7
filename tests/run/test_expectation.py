"""What `causalopt check` and `causalopt design` say: against tables made here, and against the run itself."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestIndPower

from causalopt.diagnostics.power import chi_square_of_tilt
from causalopt.run.config import load_config
from causalopt.run.design import columns_to_log, design_of_plan, design_of_run
from causalopt.run.expectation import START, expect
from causalopt.run.pipeline import run, stage_names
from causalopt.run.plan import prepare
from causalopt.run.trial import FIRST, LARGER, REPORT, SHARE, StageCost, _Trial, expected_costs, extrapolated

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """900 ratings of 300 texts with effects that no word shows; half of the readers are shown half of the texts."""
    folder, rng = tmp_path_factory.mktemp("check"), np.random.default_rng(0)
    effect = rng.normal(0, 1, 300)
    text = rng.integers(0, 300, 900)
    age = rng.normal(40, 10, 900)
    frame = pd.DataFrame({"text": [f"text number {i:03d}" for i in text], "age": age})
    frame["stars"] = 3 + effect[text] + rng.normal(0, 2, 900)
    frame.to_csv(folder / "log.csv", index=False)
    config = {
        "data": {"path": str(folder / "log.csv"), "outcome": "stars", "covariates": ["age"]},
        "outcome_model": "zero",
        "assignment_model": "randomized",
        "backend": "finite",
        "evaluation": {"draws": 50, "estimators": ["sndr"]},
    }
    (folder / "log.yaml").write_text(yaml.safe_dump(config))
    return folder


def plan_of(table, *overrides):
    return prepare(load_config(table / "log.yaml", overrides))


def test_the_standard_error_is_that_of_the_formula(table):
    """With no outcome model and random texts it is known: texts drawn, so the sum over a text is squared."""
    found = expect(plan_of(table, "data.population.texts=drawn"), timing=False)
    test = found.plan.test
    sums = pd.Series(test.outcome).groupby(test.text_code).sum().to_numpy()
    expected = math.sqrt(chi_square_of_tilt(0.25) * (sums @ sums)) / len(test)
    assert found.power.se == pytest.approx(expected, rel=1e-12)
    assert found.power.units == len(set(test.texts))
    assert found.kept == pytest.approx(1.0)
    fixed = expect(plan_of(table), timing=False)
    expected = math.sqrt(chi_square_of_tilt(0.25) * (test.outcome @ test.outcome)) / len(test)
    assert fixed.unit == "rows"
    assert fixed.power.se == pytest.approx(expected, rel=0.1)  # other rows are the test rows


def test_the_sentences_hold_the_numbers(table):
    found = expect(plan_of(table), timing=False)
    said = " ".join(found.sentences())
    assert f"{found.power.smallest_gain:.2g} in stars" in said
    assert "3,600 rows" in said
    assert "given age" in said
    assert "by sndr, with a 95% interval" in said
    assert found.to_dict()["rows"]["texts"] == len(set(pd.read_csv(table / "log.csv")["text"]))


def test_too_few_units_are_said_and_nothing_is_predicted(table):
    found = expect(plan_of(table, "data.test.size=0.015"), timing=False)
    assert found.power is None
    assert "nothing is concluded from fewer than 20" in " ".join(found.sentences())


def test_the_cost_names_every_stage_and_leaves_nothing_behind(table, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plan = plan_of(table, "comparisons.plain.objective=cpo")
    costs = expected_costs(plan)
    assert [one.name for one in costs] == [*stage_names(plan), REPORT]
    assert all(one.seconds >= 0 and one.memory > 2**28 for one in costs)
    assert list(tmp_path.iterdir()) == []
    by_name = {one.name: one.seconds for one in costs}
    assert by_name["comparison plain"] == by_name["optimisation"]
    assert by_name["evaluation of plain"] == by_name["evaluation"]


@given(st.floats(0, 100), st.floats(0, 1e4), st.floats(1e-4, 0.5), st.floats(1.1, 10), st.floats(0, 1), st.floats(0, 1))
def test_times_on_a_line_are_extrapolated_along_it(fixed, growing, share, factor, one, other):
    def seconds(at):
        return fixed + growing * at

    second = min(1.0, factor * share)
    found = extrapolated([share, second], [seconds(share), seconds(second)])
    assert found == pytest.approx(seconds(1.0), rel=1e-6, abs=1e-6)
    single = extrapolated([share], [seconds(share)])
    assert seconds(share) <= single * (1 + 1e-12)
    assert seconds(1.0) / math.sqrt(1 / share) <= single * (1 + 1e-12)
    assert single <= math.sqrt(1 / share) * seconds(1.0) * (1 + 1e-12)
    # More rows never take less time, whatever the noise of the two times.
    low, high = sorted((second + one * (1 - second), second + other * (1 - second)))
    for times in ([3.0, 2.0], [2.0, 3.0]):
        assert times[-1] <= extrapolated([share, second], times, low) <= extrapolated([share, second], times, high)


def carried_out(plan, monkeypatch, seconds):
    """Expected seconds of each stage, where each stage of a trial takes ``seconds(share)``, and the trials' shares."""
    shares = []

    def trial(given, share):
        shares.append(share)
        names = [*stage_names(replace(given, comparisons={})), REPORT]
        return _Trial(share, len(names) * seconds(share), dict.fromkeys(names, seconds(share)), {})

    monkeypatch.setattr("causalopt.run.trial._carry_out", trial)
    return {one.name: one.seconds for one in expected_costs(plan)}, shares


def test_trials_take_a_share_of_the_run_and_no_more(table, monkeypatch):
    plan = plan_of(table, "comparisons.plain.objective=cpo")
    plan = replace(plan, train=plan.train.subset(np.tile(np.arange(len(plan.train)), 200)))  # some 100,000 rows
    rows = len(plan.train)
    # Reports do not grow; the rest does, in proportion.
    found, shares = carried_out(plan, monkeypatch, lambda share: share)
    assert shares[:2] == pytest.approx([FIRST / rows, LARGER[0] * FIRST / rows])
    assert found["comparison plain"] == found["how far to go"] == pytest.approx(1.0)
    assert found[REPORT] == shares[-1]
    names = stage_names(replace(plan, comparisons={}))
    assert sum(shares[1:]) * (len(names) + 1) <= SHARE * sum(found.values())
    # What hardly grows is not repeated: another trial would cost more than the share.
    found, shares = carried_out(plan_of(table), monkeypatch, lambda share: 1.0)
    assert shares == pytest.approx([FIRST / len(plan_of(table).train)])
    assert found["evaluation"] == pytest.approx(1 / math.sqrt(shares[0]))
    # Of a long run, the trials after the first take some seconds, and not a share of hours.
    found, shares = carried_out(plan, monkeypatch, lambda share: 1000.0)
    assert len(shares) == 1


def test_the_start_is_a_stage(table, monkeypatch):
    monkeypatch.setattr("causalopt.run.expectation.expected_costs", lambda plan: [StageCost("evaluation", 2.0, 3.0)])
    found = expect(plan_of(table), start=5.0)
    assert found.seconds == 7.0
    assert [one.name for one in found.costs] == [START, "evaluation"]


def test_design_after_a_run_takes_its_estimate_and_the_safe_end_of_its_interval(table):
    metrics = run(plan_of(table, "outcome_model=ridge", "choose=null"), table / "run")
    found, difference = design_of_run(table / "run"), metrics["value"]["difference"]
    spread = plan_of(table).test.outcome.std()
    assert found.outcome_sd == pytest.approx(spread)
    peer = TTestIndPower().solve_power(abs(difference["estimate"]) / spread, power=0.8, alpha=0.05)
    assert peer - 2 < found.arms[0].per_arm <= peer + 1  # the normal distribution in place of Student's t
    if difference["ci_low"] * difference["ci_high"] > 0:
        safe = min(abs(difference["ci_low"]), abs(difference["ci_high"]))
        more = (difference["estimate"] / safe) ** 2
        assert found.arms[1].per_arm == pytest.approx(found.arms[0].per_arm * more, rel=0.1)
    else:
        assert "no size is safe" in found.sentences()[-1]
    assert found.unseen == 0.0  # the finite policy writes logged texts alone
    assert all(one.readings < 5 for one in found.rare_texts)


def test_design_names_readers_who_were_shown_few_kinds_of_texts(table, monkeypatch):
    """The old are given weights of a heavy tail: their effective share is that of the formula."""
    plan = plan_of(table, "outcome_model=ridge", "choose=null")
    run(plan, table / "weighted")
    frame = pd.read_parquet(table / "weighted" / "pseudo_outcomes.parquet")
    age = plan.train.covariates["age"].to_numpy()
    old = age > np.quantile(age, 0.75)
    frame["s"] = np.where(old & (np.arange(len(frame)) % 10 == 0), 10.0, np.where(old, 0.01, 1.0))
    frame.to_parquet(table / "changed.parquet")

    def read(path, columns):
        return pd.read_parquet(table / "changed.parquet" if path.name == "pseudo_outcomes.parquet" else path)

    monkeypatch.setattr("causalopt.run.design.read_run_table", read)
    thin = design_of_run(table / "weighted").thin_readers
    assert len(thin) == 1
    s = frame["s"].to_numpy()[old]
    assert thin[0].effective_share == pytest.approx(s.sum() ** 2 / (len(s) * (s**2).sum()), rel=0.05)
    assert thin[0].readers.startswith("age ")


def test_design_before_a_run_and_what_to_log(table):
    plan = plan_of(table)
    found = design_of_plan(table / "log.yaml", expect(plan, timing=False), plan.config)
    assert found.arms[-1].difference == pytest.approx(expect(plan, timing=False).power.smallest_gain)
    named = " ".join(columns_to_log(plan.config.data, plan.train))
    for key in ("data.behavior_log_prob", "data.reader", "data.time", "data.observed"):
        assert key in named
    assert "data.covariates" not in named
