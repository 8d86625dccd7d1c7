"""Headline tests from a table to a choice among new headlines, as a person does it."""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from causalopt.backends import load_policy
from causalopt.backends.conditional_logit import ConditionalLogitPolicy
from causalopt.cli.console import console
from causalopt.cli.main import main
from causalopt.errors import CausalOptWarning, ConfigError, DataError
from causalopt.run.choose import choose
from causalopt.run.config import load_config
from causalopt.run.evaluate import evaluate_run
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

VERBS = {"try": 0.0, "see": 0.3, "love": 0.9, "avoid": -0.9, "meet": -0.3}
THINGS = [f"{a}{b}" for a in ("oat", "map", "bee", "wool", "rain", "jazz", "clay", "salt") for b in "abcdef"]


def headlines(tests: int, seed: int) -> pd.DataFrame:
    """A verb's effect, a level of the test ten times as large, noise by impressions; nearly every text in one test."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in range(tests):
        level = 10 * rng.normal()
        for verb in rng.choice(list(VERBS), size=rng.integers(2, 5), replace=False):
            shown = float(rng.integers(50, 2000))
            rate = level + VERBS[verb] + 5 * rng.normal() / np.sqrt(shown)
            rows.append((f"test {c}", f"{verb} {rng.choice(THINGS)} near {rng.choice(THINGS)}", rate, shown))
    return pd.DataFrame(rows, columns=["headline_test_id", "headline", "click_rate", "impressions"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("headlines")
    headlines(160, seed=0).to_csv(folder / "headlines.csv", index=False)
    columns = {"prompt": "headline_test_id", "text": "headline", "outcome": "click_rate", "weight": "impressions"}
    config = {
        "data": {"path": str(folder / "headlines.csv"), **columns},
        "outcome_model": "ridge",
        "objective": {"name": "dr_cpo", "kl": 0, "forward_kl": 0},
        "backend": {"name": "finite", "l2": 1e-5, "max_kl": None},
        "evaluation": {"estimators": ["sndr", "dm"], "draws": 50},
    }
    (folder / "headlines.yaml").write_text(yaml.safe_dump(config))
    plan = prepare(load_config(folder / "headlines.yaml"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        run(plan, folder / "run")
    return folder


def test_candidates_are_those_of_the_data_and_prompts_are_drawn(finished):
    metrics = json.loads((finished / "run" / "metrics.json").read_text())
    assert "each with candidate texts of its own" in metrics["population"]["sentence"]
    assert metrics["overlap"]["unit"] == "prompts"
    policy = load_policy(finished / "run" / "policy")
    assert isinstance(policy, ConditionalLogitPolicy)
    assert len(policy.sets.prompts) == 160
    assert len(policy.sets) == len(pd.read_csv(finished / "headlines.csv"))


def test_check_says_what_is_chosen_among(finished, monkeypatch, capsys):
    monkeypatch.setattr(console, "_width", 250)  # the variable COLUMNS is read once, at the first import
    monkeypatch.setattr(sys, "argv", ["causalopt", "check", str(finished / "headlines.yaml")])
    with suppress(SystemExit):
        main()
    assert "Each of 160 prompts has candidates of its own" in capsys.readouterr().out


def test_the_value_is_the_exact_sum_over_the_candidates_of_held_out_tests(finished):
    """With all candidates logged, `sndr` is sum_c n_c sum_x P(x | c) mean_cx / sum_c n_c: the outcome model cancels."""
    plan = prepare(load_config(finished / "headlines.yaml"))
    held_out = plan.test
    assert not set(held_out.prompts) & set(plan.train.prompts)
    policy, reference = (load_policy(finished / "run" / name) for name in ("policy", "reference"))
    frame = pd.DataFrame({"c": held_out.prompts, "n": held_out.weight, "y": held_out.outcome})
    frame["p"] = np.exp(policy.log_prob(held_out.prompts, held_out.texts))
    readers = frame.groupby("c")["n"].transform("sum")
    value = (readers * frame["p"] * frame["y"]).sum() / frame["n"].sum()
    found = json.loads((finished / "run" / "metrics.json").read_text())["value"]
    assert found["policy"]["estimate"] == pytest.approx(value, abs=1e-9)
    assert found["reference"]["estimate"] == pytest.approx(np.average(frame["y"], weights=frame["n"]), abs=1e-9)
    log_ratio = policy.log_prob(held_out.prompts, held_out.texts) - reference.log_prob(held_out.prompts, held_out.texts)
    kl = (readers * frame["p"] * log_ratio).sum() / frame["n"].sum()
    assert json.loads((finished / "run" / "metrics.json").read_text())["kl"] == pytest.approx(kl, abs=1e-9)
    assert found["difference"]["ci_low"] > 0.2  # 0.9 is the most that a verb adds


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_another_table_has_other_prompts_with_candidates_of_their_own(finished):
    other = headlines(60, seed=1)
    other["headline_test_id"] = "new " + other["headline_test_id"]
    other.to_csv(finished / "other.csv", index=False)
    found = evaluate_run(finished / "run", data=finished / "other.csv")["value"]
    frame = other.rename(columns={"headline_test_id": "c", "impressions": "n", "click_rate": "y"})
    assert found["reference"]["estimate"] == pytest.approx(np.average(frame["y"], weights=frame["n"]), abs=1e-9)
    assert found["difference"]["ci_low"] > 0.1


def test_choose_ranks_new_candidates_with_effects_and_intervals(finished):
    verbs = ("see", "love", "avoid", "avoid", "try")
    texts = [
        f"{verb} {thing} near mapb"
        for verb, thing in zip(verbs, ("beea", "beea", "salta", "beea", "salta"), strict=True)
    ]
    pd.DataFrame({"prompt": list("aabab"), "text": texts}).to_csv(finished / "new.csv", index=False)
    ranked = choose(finished / "run", finished / "new.csv")
    assert ranked["text"].tolist() == [texts[i] for i in (1, 0, 3, 4, 2)]
    assert ranked["rank"].tolist() == [1, 2, 3, 1, 2]
    np.testing.assert_allclose(ranked.groupby("prompt")["probability"].sum(), 1.0)
    np.testing.assert_allclose(ranked.groupby("prompt")["score"].sum(), 0.0, atol=1e-9)
    assert (ranked["readings"] == 0).all()
    truth = np.array([0.8, 0.2, -1.0, 0.45, -0.45])
    assert (np.abs(ranked["score"] - truth) < 0.35).all()
    # Coverage of these intervals is replicated in tests/nuisance/test_within_prompts.py.
    np.testing.assert_allclose((ranked["ci_low"] + ranked["ci_high"]) / 2, ranked["score"], atol=1e-12)
    assert (ranked["ci_high"] > ranked["ci_low"]).all()


def test_choose_judges_a_logged_text_by_its_readings(finished):
    plan = prepare(load_config(finished / "headlines.yaml"))
    prompt = plan.train.prompts[0]
    own = [i for i, one in enumerate(plan.train.prompts) if one == prompt]
    texts = [plan.train.texts[i] for i in own]
    pd.DataFrame({"headline_test_id": prompt, "headline": texts}).to_csv(finished / "logged.csv", index=False)
    ranked = choose(finished / "run", finished / "logged.csv").set_index("text")
    shown = dict(zip(texts, plan.train.weight[own], strict=True))
    assert ranked["readings"].to_dict() == pytest.approx(shown)
    mean = np.mean(plan.train.outcome[own])
    for i, text in zip(own, texts, strict=True):
        assert ranked["score"][text] == pytest.approx(plan.train.outcome[i] - mean, abs=0.35)
    pd.DataFrame({"text": texts}).to_csv(finished / "unread.csv", index=False)
    unread = choose(finished / "run", finished / "unread.csv").set_index("text")
    assert "prompt" not in unread
    width = {name: (one["ci_high"] - one["ci_low"]).mean() for name, one in (("read", ranked), ("unread", unread))}
    assert width["read"] < width["unread"]


def test_choose_prints_and_writes(finished, monkeypatch, capsys):
    (finished / "few.csv").write_text("text\nlove salta near mapb\navoid salta near mapb\n")
    for out in (finished / "ranked.csv", finished / "few.csv"):
        monkeypatch.setattr(
            sys, "argv", ["causalopt", "choose", str(finished / "run"), str(finished / "few.csv"), "--out", str(out)]
        )
        with suppress(SystemExit):
            main()
    printed, errors = capsys.readouterr()
    assert printed.index("love salta") < printed.index("avoid salta")
    assert "is the table of candidates" in errors
    assert pd.read_csv(finished / "ranked.csv").columns.tolist() == [
        "text", "rank", "probability", "score", "ci_low", "ci_high", "readings"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("headlin\nx\ny\n", "there is no column 'headline' or 'text' of candidates; there are: headlin"),
        ("text\nx\nx\n", "row 2 repeats the candidate 'x'"),
        ("prompt,text\na,x\na,y\nb,z\n", "a single candidate of the prompt 'b'"),
        ("prompt,text\na,x\na,\n", "column 'text', row 2 is empty"),
    ],
)
def test_a_table_of_candidates_that_cannot_be_used(finished, table, message):
    (finished / "bad.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        choose(finished / "run", finished / "bad.csv")


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="not the directory of a finished run"):
        choose(tmp_path, tmp_path / "new.csv")
