"""Bounds on another outcome in a run: configuration, check, metrics.json, terminal, report, card, evaluation."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

from causalopt.backends import load_policy
from causalopt.cli.main import main
from causalopt.errors import ConfigError, DataError
from causalopt.run.card import evidence_of
from causalopt.run.config import parse_config
from causalopt.run.evaluate import evaluate_run
from causalopt.run.frontier import write_point
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

TEXTS = [
    f"{a} {b} {c}" for a in ("help", "give", "act") for b in ("now", "soon", "please") for c in ("we", "you", "all")
]
PUSHY = np.array(["now" in text for text in TEXTS], dtype=float)
KIND = np.array(["all" in text for text in TEXTS], dtype=float)


def table(n=1500, seed=0):
    """What is pushy or kind is answered; the pushy texts are complained of."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(27, size=n)
    frame = pd.DataFrame({"text": np.array(TEXTS)[shown]})
    frame["resp"] = 1.5 * PUSHY[shown] + KIND[shown] + rng.normal(size=n)
    frame["complaint"] = (rng.random(n) < 0.1 + 0.5 * PUSHY[shown]).astype(int)
    frame["mood"] = 5 + KIND[shown] + rng.normal(size=n)
    frame.loc[frame.index[::9], "mood"] = np.nan
    return frame


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "table.csv"
    table().to_csv(path, index=False)
    return path


def config(path, **more):
    return {
        "data": {"path": str(path), "outcome": "resp"},
        "embedder": {"name": "tfidf-svd", "dimensions": 9, "ngram_max": 1},
        "outcome_model": "ridge",
        "backend": {"name": "finite", "embedder": {"name": "tfidf-svd", "dimensions": 9, "ngram_max": 1}},
        "choose": {"correlations": [0.0]},
        "evaluation": {"estimators": ["balance"]},
        "constraints": [{"outcome": "complaint", "at_most": 0.44}, {"outcome": "mood", "at_least": 4.9}],
        **more,
    }


@pytest.fixture(scope="module")
def done(path, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    plan = prepare(parse_config(config(path)))
    return run(plan, out), out, plan


def test_metrics_say_whether_the_bounds_hold(done):
    metrics, out, _ = done
    assert json.loads((out / "metrics.json").read_text()) == metrics
    complaint, mood = metrics["constraints"]
    assert (complaint["outcome"], complaint["at_most"], complaint["at_least"]) == ("complaint", 0.44, None)
    assert (mood["at_most"], mood["at_least"], mood["holds"]) == (None, 4.9, True)
    policy, reference = (load_policy(out / name) for name in ("policy", "reference"))
    truth = 0.1 + 0.5 * PUSHY
    for who, known in (("policy", policy), ("reference", reference)):
        probability = np.exp(known.log_prob(None, TEXTS))
        # Four standard errors, on both: a correct run fails with probability 1e-4.
        assert abs(complaint[who]["estimate"] - probability @ truth) < 4 * complaint[who]["se"]
        assert abs(mood[who]["estimate"] - probability @ (5 + KIND)) < 4 * mood[who]["se"]
    assert complaint["holds"] == (True if complaint["policy"]["ci_high"] <= 0.44 else None)
    assert complaint["sentence"].startswith("The bound complaint at most 0.44")
    difference = complaint["policy"]["estimate"] - complaint["reference"]["estimate"]
    assert complaint["difference"]["estimate"] == pytest.approx(difference)


def test_the_frontier_has_the_points_of_both_fits_and_the_chosen_one_keeps_the_limits(done, tmp_path):
    metrics, out, _ = done
    found = metrics["frontier"]
    frame = pd.read_parquet(out / "frontier.parquet")
    assert sorted({one["correlation"] for one in found["points"]}, key=str) == [0.0, None]
    (chosen,) = [one for one in found["points"] if one["chosen"]]
    assert chosen["high of complaint"] <= 0.44
    assert chosen["low of mood"] >= 4.9
    assert "shown to keep the bounds" in found["sentence"]
    over = frame[frame["high of complaint"] > 0.44]
    assert len(over)
    assert over["barred"].notna().all()
    assert not over["chosen"].any()
    # Without a bound the fit that is not penalised would be taken further.
    free = frame[frame["correlation"].isna()]
    assert free["bound"].max() > chosen["bound"]
    assert found["correlation"] == chosen["correlation"] == 0.0
    point = write_point(out, chosen["kl"], tmp_path / "again")
    assert point.factor == pytest.approx(chosen["factor"], rel=0.05)
    saved, again = (load_policy(folder) for folder in (out / "policy", tmp_path / "again"))
    np.testing.assert_allclose(again.log_prob(None, TEXTS), saved.log_prob(None, TEXTS), atol=0.1)


def test_report_card_and_terminal_say_it(done, path, tmp_path, monkeypatch, capsys):
    metrics, out, plan = done
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Are the bounds kept?" in page
    assert "complaint at most 0.44" in page
    card = evidence_of(metrics, plan.data_sets(), dict.fromkeys(plan.data_sets(), "0"))
    assert f"**Bounds.** {metrics['constraints'][0]['sentence']}" in card
    from causalopt.cli.tables import constraint_table, frontier_table

    assert constraint_table(metrics).row_count == 4
    assert frontier_table(metrics["frontier"]).row_count == len(metrics["frontier"]["points"])
    settings = tmp_path / "c.yaml"
    settings.write_text(json.dumps(config(path)))
    monkeypatch.setattr(sys, "argv", ["causalopt", "check", str(settings)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "complaint at most 0.44, mean 0.2" in said
    assert "mood at least 4.9" in said


def test_the_run_is_evaluated_again_with_its_bounds(done):
    metrics, out, _ = done
    assert evaluate_run(out)["constraints"] == metrics["constraints"]


def test_a_resumed_run_with_another_bound_chooses_again(done, path, tmp_path):
    metrics = done[0]
    out = tmp_path / "run"
    raw = config(path, constraints=[{"outcome": "complaint", "at_most": 0.15}])
    found = run(prepare(parse_config(raw)), out)
    assert "hold for the reference: 0.2" in found["verdict"]
    assert found["frontier"]["bounds"][0]["reference_holds"] is not True
    (only,) = found["constraints"]
    assert only["reference"]["ci_high"] > 0.15
    raw["constraints"][0]["at_most"] = 0.9
    loose = run(prepare(parse_config(raw)), out, overwrite=True)
    assert loose["constraints"][0]["holds"] is True
    assert loose["frontier"]["chosen"] > 0
    assert loose["value"]["policy"]["estimate"] > metrics["value"]["policy"]["estimate"] - 0.3


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"constraints": [{"outcome": "resp", "at_most": 1}]}, "'resp' is the outcome that is optimised"),
        ({"constraints": [{"outcome": "mood"}]}, "needs exactly one of at_most and at_least"),
        ({"constraints": [{"outcome": "mood", "at_most": "few"}]}, "constraints.0.at_most: "),
        ({"constraints": [{"outcome": "mood", "atmost": 1}]}, "there is no key 'constraints.0.atmost'"),
        ({"choose": None}, "constraints need choose"),
        ({"data": {"world": "template"}}, "a world has one outcome"),
        ({"choose": {"correlations": [2.0]}}, "choose.correlations: these: each must be a number"),
    ],
)
def test_a_configuration_that_cannot_be_is_one_line(path, more, line):
    with pytest.raises(ConfigError, match=line):
        parse_config({**config(path), **more})


@pytest.mark.parametrize(
    ("constraints", "line"),
    [
        ([{"outcome": "complaints", "at_most": 0.1}], r"no column 'complaints' for other_outcomes .did you mean"),
        ([{"outcome": "text", "at_most": 0.1}], "'text' is both text and other_outcomes"),
        ([{"outcome": "mood", "at_least": 99}], "no policy can be expected to keep mood at least 99"),
    ],
)
def test_data_that_a_bound_does_not_fit_are_one_line(path, constraints, line):
    with pytest.raises((ConfigError, DataError), match=line):
        prepare(parse_config(config(path, constraints=constraints)))


def test_too_few_rows_apart_are_refused(path):
    raw = config(path)
    raw["data"]["rows"] = 100
    with pytest.raises(ConfigError, match="constraints need rows set apart"):
        prepare(parse_config(raw))
