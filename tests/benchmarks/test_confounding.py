from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from benchmarks.confounding import grading, running
from benchmarks.confounding.__main__ import run
from benchmarks.confounding.catalogue import CATALOGUE, NAIVE, RUNS, SPACES, TUNED, method_spec, with_settings
from benchmarks.confounding.cells import Store
from benchmarks.confounding.estimation import TextOnlyOutcome
from benchmarks.confounding.grading import COMMON_KL, FAR_KL, Grader
from benchmarks.confounding.methods import reached
from benchmarks.confounding.methods.contract import make_method
from benchmarks.confounding.own import own_methods
from benchmarks.confounding.parts import QUICK, Design, plan
from benchmarks.confounding.restriction import OnTexts
from benchmarks.confounding.summary import bars, over_seeds, warned
from benchmarks.confounding.tuning import TRIALS, VALIDATION_SEEDS, trials
from causalopt.backends.finite import FinitePolicy
from causalopt.errors import ConfigError
from causalopt.nuisance.outcome.trees import RidgeLightGBMOutcome
from causalopt.simulation import EnumeratedWorld, FiniteWorld, TemplateWorld
from causalopt.typing import Float64


@pytest.fixture(scope="module")
def world() -> TemplateWorld:
    return TemplateWorld(confounding=1.0, seed=3)


def policy_of(world: EnumeratedWorld, log_prob: Float64) -> FinitePolicy:
    return FinitePolicy(world.texts, log_prob, np.zeros((len(world.texts), 1)), np.zeros(1))


class TiltedToY:
    """A user's own method: the reference tilted by each text's mean outcome, known texts alone."""

    def __init__(self, world_texts: int = 1800) -> None:
        self.world_texts = world_texts

    def fit(self, dataset, reference):
        texts = TemplateWorld(seed=0).texts
        assert len(texts) == self.world_texts
        mean = pd.Series(dataset.outcome).groupby(dataset.texts).mean()
        score = np.array([mean.get(text, dataset.outcome.mean()) for text in texts])
        log_prob = reference.log_prob(None, texts) + 0.5 * (score - score.mean())
        return FinitePolicy(texts, log_prob, np.zeros((len(texts), 1)), np.zeros(1))


# Grading.


def test_the_optimum_of_a_larger_kl_holds_the_optimum_of_the_common_one(world: TemplateWorld) -> None:
    """On the geometric path from P0 to P0 exp(g / beta) lies P0 exp(g / beta') for each beta' > beta."""
    g = world.true_dose_response(world.texts)
    numbers, frontier = Grader(world, policy_of(world, world.log_behavior)).grade(
        policy_of(world, world.log_behavior + 1.5 * g)
    )
    assert numbers["kl"] > COMMON_KL
    assert numbers["kl_common"] == pytest.approx(COMMON_KL, abs=1e-6)
    assert numbers["gain_share"] == pytest.approx(1, abs=1e-6)
    assert numbers["gain_share_common"] == pytest.approx(1, abs=1e-6)
    assert numbers["mass"] == pytest.approx(1)
    for point in frontier:
        assert point.value == pytest.approx(point.best, abs=1e-6)


def test_grades_are_sums_over_the_texts(world: TemplateWorld) -> None:
    rng = np.random.default_rng(0)
    start, end = log_softmax(rng.normal(size=1800)), log_softmax(rng.normal(size=1800) * 1.2)
    numbers, frontier = Grader(world, policy_of(world, start)).grade(policy_of(world, end))
    g = world.true_dose_response(world.texts)
    assert numbers["gain"] == pytest.approx(float((np.exp(end) - np.exp(start)) @ g))
    assert numbers["kl"] == pytest.approx(float(np.exp(end) @ (end - start)))
    # The common point by another way: a fine grid of the path.
    shares = np.linspace(0, 1, 2001)[:, None]
    path = (1 - shares) * start + shares * end
    path -= logsumexp(path, axis=1, keepdims=True)
    kl = (np.exp(path) * (path - start)).sum(axis=1)
    assert (np.diff(kl) > 0).all()
    value = np.interp(COMMON_KL, kl, np.exp(path) @ g)
    assert numbers["value_common"] == pytest.approx(value, abs=1e-5)
    assert [point.kl for point in frontier] == sorted(point.kl for point in frontier)


def test_a_policy_nearer_than_the_common_kl_stays(world: TemplateWorld) -> None:
    g = world.true_dose_response(world.texts)
    numbers, _ = Grader(world, policy_of(world, world.log_behavior)).grade(
        policy_of(world, world.log_behavior - 0.2 * g)
    )
    assert numbers["kl"] < COMMON_KL
    assert numbers["kl_common"] == numbers["kl"]
    assert numbers["gain_common"] == numbers["gain"] < 0


def test_the_far_point_lies_beyond_a_policy_that_is_near(world: TemplateWorld) -> None:
    """A policy on the optimal path, followed to 1.5 nats: the optimum there, whatever the policy's own distance."""
    g = world.true_dose_response(world.texts)
    grader = Grader(world, policy_of(world, world.log_behavior))
    for tilt in (0.5, 3.0):
        found = grader.far(policy_of(world, world.log_behavior + tilt * g))
        assert found["kl_far"] == pytest.approx(FAR_KL, abs=1e-6)
        assert found["gain_share_far"] == pytest.approx(1, abs=1e-6)


def test_the_reference_gains_exactly_nothing(world: TemplateWorld) -> None:
    """A run that chooses the reference is no loss by the Monte Carlo error of two samples of it."""
    texts = [*world.texts, "please give today", "Hello friend, and feel proud."]
    log_prob = np.append(world.log_behavior + np.log(0.7), np.log([0.1, 0.2]))
    reference = FinitePolicy(texts, log_prob, np.zeros((1802, 1)), np.zeros(1))
    assert Grader(world, reference).gain_of_all_texts(reference) == {"gain_all": 0.0, "gain_all_se": 0.0}


# Methods.


def test_the_reward_model_is_the_regression_without_covariates() -> None:
    rng = np.random.default_rng(0)
    x, w, y, weight = rng.normal(size=(200, 3)), rng.normal(size=(200, 2)), rng.normal(size=200), np.ones(200)
    blind = TextOnlyOutcome().fit(x, w, y + w[:, 0], weight)
    plain = RidgeLightGBMOutcome().fit(x, w[:, :0], y + w[:, 0], weight)
    np.testing.assert_array_equal(blind.predict(x, w), plain.predict(x, w[:, :0]))
    np.testing.assert_allclose(blind.marginal(x, w, weight), blind.predict(x, -w), atol=1e-10)


def test_the_published_loss_is_its_formula() -> None:
    from benchmarks.confounding.methods.published import published_loss

    rng = np.random.default_rng(0)
    names = ("reference_logged", "reference_drawn", "outcome", "predicted", "predicted_drawn")
    rows = {name: rng.normal(size=4) for name in names}
    score, drawn = rng.normal(size=4), rng.normal(size=4)

    def softmax(values):
        return np.exp(values) / np.exp(values).sum()

    expected = 0.0
    for i in range(4):
        weight = softmax(score - rows["reference_logged"])[i] * softmax(rows["reference_logged"])[i] / 50
        expected -= weight * (rows["outcome"][i] - rows["predicted"][i]) / 4
        expected -= softmax(drawn - rows["reference_drawn"])[i] * rows["predicted_drawn"][i] / 4
    found = published_loss(
        torch.tensor(score), torch.tensor(drawn), {name: torch.tensor(value) for name, value in rows.items()}, 50
    )
    assert float(found) == pytest.approx(expected, abs=1e-12)


@pytest.fixture(scope="module")
def tiny(world: TemplateWorld):
    from causalopt.backends.contracts import Progress
    from causalopt.backends.huggingface import HuggingFaceBackend

    data = world.sample(300, 0)
    return data, HuggingFaceBackend().reference(None, data.texts, data.weight, seed=0, progress=Progress())


def test_trl_reads_texts_as_the_reference_does(tiny) -> None:
    data, reference = tiny
    codec = reference.codec
    whole = [codec.tokenizer.bos_token + text + codec.tokenizer.eos_token for text in data.texts]
    assert codec.tokenizer(whole)["input_ids"] == [tokens.ids for tokens in codec.encode(None, data.texts)]


def test_pairs_are_of_rows_with_different_texts_the_better_one_chosen(world: TemplateWorld) -> None:
    pytest.importorskip("trl")
    from benchmarks.confounding.methods.preferences import outcome_pairs

    data = world.sample(300, 0)
    chosen, rejected = outcome_pairs(data, seed=0)
    assert len(chosen) > 280
    assert (data.outcome[chosen] > data.outcome[rejected]).all()
    assert all(data.texts[a] != data.texts[b] for a, b in zip(chosen, rejected, strict=True))
    turned = outcome_pairs(replace(data, direction="minimize"), seed=0)
    assert turned == (rejected, chosen)


@pytest.mark.filterwarnings("ignore::causalopt.errors.TruncationWarning")  # of 300 rows, strongly confounded
@pytest.mark.parametrize("label", ["kto", "dpo", "grpo", "rlhf", "published", "oracle"])
def test_other_methods_move_the_policy_and_leave_the_reference(tiny, world: TemplateWorld, label: str) -> None:
    if label in ("kto", "dpo", "grpo", "rlhf"):
        pytest.importorskip("trl")
    data, reference = tiny
    before = reference.log_prob(None, data.texts)
    changes = {"steps": 2, "batch": 8, "generations": 4} if label in ("grpo", "rlhf") else {}
    policy = make_method({**CATALOGUE[label], "learning_rate": 1e-2, **changes}, world).fit(data, reference)
    np.testing.assert_array_equal(reference.log_prob(None, data.texts), before)
    moved = policy.log_prob(None, data.texts) - before
    assert np.isfinite(moved).all()
    assert np.abs(moved).max() > 1e-3


def test_what_is_no_method_is_refused_in_one_line(world: TemplateWorld) -> None:
    with pytest.raises(ConfigError, match="name it as package"):
        make_method({"method": "no.such.module:Thing"}, world)
    with pytest.raises(ConfigError, match="no fit"):
        make_method({"method": "builtins:dict"}, world)
    with pytest.raises(ConfigError, match="dr_cpo"):
        method_spec("dr_cop")
    with pytest.raises(ConfigError, match="cannot be made with the settings"):
        make_method({"method": f"{__name__}:TiltedToY", "tilt": 2.0}, world)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("methods: {dr_cpo: 'builtins:dict'}", "methods.dr_cpo: there is a method of that name"),
        ("methods: {mine: {strength: 1}}", "methods.mine must be package.module:factory"),
        ("methods: {mine: 'no.such:Thing'}", "name it as package.module:factory"),
        ("methods: []", "must have a section 'methods'"),
        ("mine: 'builtins:dict'", "must have a section 'methods'"),
    ],
)
def test_a_file_of_methods_is_refused_before_anything_is_computed(tmp_path: Path, written: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(written)
    with pytest.raises(ConfigError, match=re.escape(message)):
        own_methods([], tmp_path / "mine.yaml")


def test_methods_of_ones_own_are_in_every_part_that_compares_methods(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("methods: {mine: {method: 'builtins:dict', a: 1}, plain: 'builtins:list'}")
    own = own_methods(["builtins:set"], tmp_path / "mine.yaml")
    assert own == {
        "builtins:set": {"method": "builtins:set"},
        "mine": {"method": "builtins:dict", "a": 1},
        "plain": {"method": "builtins:list"},
    }
    cells = plan(Design(own=own, seeds=(1,)))
    for part in ("strength", "size", "paper", "failures", "traffic", "reached"):
        assert set(own) <= {cell.method for cell in cells if cell.part == part}


# Tuning.


def test_every_method_has_the_same_budget_and_no_test_seed_is_tuned_on() -> None:
    assert set(SPACES) == set(CATALOGUE)
    for label in CATALOGUE:
        found = [json.dumps(trial, sort_keys=True) for trial in trials(label)]
        assert len(set(found)) == len(found) == TRIALS
    assert not set(VALIDATION_SEEDS) & {*Design().seeds, *QUICK.seeds}


def test_tuned_values_are_the_best_trials() -> None:
    tuned = json.loads(TUNED.read_text())
    assert set(tuned["chosen"]) == set(CATALOGUE)
    for label, found in tuned["trials"].items():
        best = max(found, key=lambda trial: trial["score"])
        assert {name: value for name, value in best.items() if name != "score"} == tuned["chosen"][label]
        spec = method_spec(label)
        assert spec == with_settings(CATALOGUE[label], tuned["chosen"][label])


# What is valued.


class Mixture:
    """Writes a text of the world or, half of the time, one that no world knows."""

    def __init__(self, texts, share):
        self.texts, self.share = texts, np.asarray(share)

    def log_prob(self, prompts, texts):
        return np.log([0.5 if text not in self.texts else 0.5 * self.share[self.texts.index(text)] for text in texts])


def test_a_policy_restricted_to_the_worlds_texts_is_what_the_truth_is_about() -> None:
    policy = Mixture(["a", "b", "c"], [0.5, 0.3, 0.2])
    restricted = OnTexts(policy, policy.texts)
    np.testing.assert_allclose(np.exp(restricted.log_prob(None, ["c", "a"])), [0.2, 0.5])
    drawn = restricted.sample(None, 40_000, seed=0)
    # 5 standard errors of a share: three in ten million draws of this test would fail.
    for text, share in zip(policy.texts, policy.share, strict=True):
        assert abs(drawn.count(text) / 40_000 - share) < 5 * np.sqrt(share * (1 - share) / 40_000)
    assert drawn == restricted.sample(None, 40_000, seed=0)


def test_the_gain_of_all_texts_counts_what_no_world_lists(world: TemplateWorld) -> None:
    """Brute force, policies that write other texts too: |z| below 5 fails once in two million."""
    other = ["please give today", "Hello friend, and feel proud."]
    texts = [*world.texts, *other]
    rng = np.random.default_rng(0)
    shares = [np.append(rng.dirichlet(np.ones(1800)) * (1 - rest), rest * np.array([0.3, 0.7])) for rest in (0.1, 0.3)]
    reference, policy = (FinitePolicy(texts, np.log(p), np.zeros((1802, 1)), np.zeros(1)) for p in shares)
    found = Grader(world, reference).gain_of_all_texts(policy)
    expected = (shares[1] - shares[0]) @ world.true_dose_response_of_any(texts)
    assert 0 < found["gain_all_se"] < 0.01
    assert abs(found["gain_all"] - expected) < 5 * found["gain_all_se"]


def test_the_gain_of_all_texts_is_unknown_where_other_texts_have_no_truth() -> None:
    world = FiniteWorld(seed=0)
    start = np.log(np.full(300, 1 / 300))
    end = log_softmax(world.dose_response)
    reference, policy = policy_of(world, start), policy_of(world, end)
    found = Grader(world, reference).gain_of_all_texts(policy)
    assert found["gain_all"] == pytest.approx(world.value_of(end) - world.value_of(start))
    assert found["gain_all_se"] == 0
    wider = FinitePolicy(
        [*world.texts, "other"], np.append(end + np.log(0.9), np.log(0.1)), np.zeros((301, 1)), np.zeros(1)
    )
    assert np.isnan(Grader(world, reference).gain_of_all_texts(wider)["gain_all"])


# The whole way.


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 texts of each policy in place of 1,000: drawing them takes most of the time."""
    monkeypatch.setattr(grading, "DRAWS", 300)
    monkeypatch.setattr(running, "evaluate", partial(running.evaluate, draws=300))


@pytest.mark.usefixtures("few_draws")
def test_a_run_keeps_its_cells_takes_a_users_method_and_goes_on(tmp_path: Path) -> None:
    mine = f"{__name__}:TiltedToY"
    sys.modules.setdefault(__name__, sys.modules[TiltedToY.__module__])
    (tmp_path / "mine.yaml").write_text(f"methods: {{tilted: {{method: '{mine}', world_texts: 1800}}}}")
    own, mine = own_methods([], tmp_path / "mine.yaml"), "tilted"
    design = Design(strengths=(1.0,), sizes=(120,), seeds=(5,), methods=("dr_cpo",), own=own, parts=("strength",))
    run(tmp_path, design, jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet").set_index("method")
    assert list(results.index) == ["dr_cpo", mine]
    assert results["gain_common"].notna().all()
    for texts in ("run", "all"):
        assert results.loc["dr_cpo", f"{texts}_ci_low"] < results.loc["dr_cpo", f"{texts}_ci_high"]
    assert 0 < results.loc["dr_cpo", "gain_all_se"] < 0.1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["settings"]["common_kl"] == COMMON_KL
    assert f"`{mine}`" in (tmp_path / "table.md").read_text()
    page = (tmp_path / "plots.html").read_text()
    assert len(page) > 1_000_000
    assert '"name":"tilted"' in page
    assert {"kl", "value", "best"} <= set(pd.read_parquet(tmp_path / "frontier.parquet").columns)

    # A finished cell is never computed again, and a missing one comes back the same.
    store, cells = Store(tmp_path / "cells"), plan(design)
    kept, lost = (next(cell for cell in cells if cell.method == method) for method in ("dr_cpo", mine))
    files = {cell.method: tmp_path / "cells" / f"{cell.key}.json" for cell in (kept, lost)}
    time, before = files["dr_cpo"].stat().st_mtime_ns, store.read(lost)
    files[mine].unlink()
    run(tmp_path, design, jobs=1)
    assert files["dr_cpo"].stat().st_mtime_ns == time
    after = store.read(lost)
    assert {k: v for k, v in after.items() if k != "seconds"} == {k: v for k, v in before.items() if k != "seconds"}


@pytest.mark.usefixtures("few_draws")
@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")  # of 200 rows
def test_what_is_reached_is_the_runs_own_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell: four fifths of the rows are fitted, one fifth chooses, and new rows give the interval."""
    seen: dict[str, set[int]] = {}

    def remember(name, function):
        def called(first, *args, **settings):
            rows = args[1] if name == "choose" else first
            seen[name] = set(rows.dataset.row.tolist())
            return function(first, *args, **settings)

        return called

    monkeypatch.setattr(reached, "fit_policy", remember("fit", reached.fit_policy))
    monkeypatch.setattr(reached, "frontier", remember("choose", reached.frontier))
    monkeypatch.setitem(RUNS, "dr_cpo", {**RUNS["dr_cpo"], "training": {"max_steps": 4, "learning_rate": 1e-2}})
    design = Design(strengths=(1.0,), methods=("dr_cpo", "oracle"), parts=("reached",), reached_sizes=(200,))
    run(tmp_path, replace(design, reached_seeds=(5,)), jobs=1)
    assert not seen["fit"] & seen["choose"]
    assert len(seen["fit"]) + len(seen["choose"]) == 200
    assert 0.1 < len(seen["choose"]) / 200 < 0.3
    results = pd.read_parquet(tmp_path / "results.parquet").set_index("method")
    ours, oracle = results.loc["dr_cpo"], results.loc["oracle"]
    assert ours["reached_gain"] == ours["gain"]
    assert ours["reached_kl"] == ours["kl"]
    assert ours["all_ci_low"] <= ours["all_ci_high"]
    assert oracle["kl_far"] == pytest.approx(FAR_KL, abs=1e-3)
    assert oracle["gain_far"] > ours["reached_gain"]
    assert "reached gain" in (tmp_path / "table.md").read_text()


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")  # of 200 rows
def test_on_real_texts_the_run_chooses_among_them(tmp_path: Path) -> None:
    """Half of the words of 60 sentences are worth more: the default's own choice gains, within its path's end."""
    rng = np.random.default_rng(0)
    words = rng.choice(["sun", "rain", "wind", "snow", "hail", "mist", "dew", "frost"], size=(60, 4))
    pd.DataFrame({"text": [" ".join(row) for row in words]}).to_csv(tmp_path / "texts.csv", index=False)
    design = Design(
        strengths=(1.0,), methods=("dr_cpo", "oracle"), parts=("reached texts",), sizes=(600,), reached_seeds=(5,)
    )
    run(tmp_path, replace(design, texts=str(tmp_path / "texts.csv")), jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet").set_index("method")
    ours = results.loc["dr_cpo"]
    assert (ours["part"], ours["strength"], ours["mass"]) == ("reached texts", 0.0, pytest.approx(1.0))
    assert ours["reached_gain"] > 0
    assert ours["all_ci_low"] <= ours["gain_all"] <= ours["all_ci_high"]
    assert plan(replace(design, texts=None)) == []


def test_seeds_by_which_settings_are_decided_are_no_test_seeds() -> None:
    design = Design()
    assert not set(design.validation_seeds) & {*design.seeds, *design.reached_seeds}
    assert not set(design.reached_seeds) & {*design.seeds, *range(200)}
    assert "settings" not in design.parts
    decided = {cell.seed for cell in plan(replace(design, parts=("settings",)))}
    assert decided == set(design.validation_seeds)


def test_cells_of_two_parts_that_are_alike_are_one() -> None:
    cells = plan(Design())
    grid = {cell.key for cell in cells if cell.part == "grid" and cell.method == "outcome right, assignment right"}
    assert grid <= {cell.key for cell in cells if cell.part == "strength" and cell.method == "dr_cpo"}
    assert len({cell.key for cell in cells}) < len(cells)


# Bars.


def ideal_results() -> pd.DataFrame:
    """All is well: dr_cpo gains 0.95 of the best everywhere but where it must fail, and naive methods lose."""
    rows = []
    for seed in range(10):
        jitter = 0.001 * (seed - 4.5)
        common = {"seed": seed, "n": 2000, "error": None, "run_error": None, "run_thin_overlap": False}
        common["run_nuisance_failed"] = False
        evidence = {"run_estimate": 0.95, "run_ci_low": 0.8, "run_ci_high": 1.1, "run_imbalance": 1.0}
        evidence |= {"run_robustness_value_interval": 0.4, "run_se": 0.08, "all_ci_low": 0.4, "all_ci_high": 0.7}
        evidence |= {"all_estimate": 0.55, "gain_all": 0.55, "gain_all_se": 0.005}

        def row(part, world, strength, method, share, evidence=evidence, common=common, jitter=jitter, **changes):
            shares = dict.fromkeys(("gain_share", "gain_share_common", "gain", "gain_common"), share + jitter)
            own = {"part": part, "world": world, "strength": strength, "method": method, "kl": 0.3, "mass": 1.0}
            return {**own, **shares, "seconds": 1.0, **common, **evidence, **changes}

        for strength, method in product((0.0, 1.0), ("dr_cpo", *NAIVE, "oracle")):
            share = 0.95 if method in ("dr_cpo", "oracle") else 0.9 * (1 - 2 * strength)
            rows.append(row("strength", "template", strength, method, share))
        for label in ("contaminated outcome model", "honest outcome model"):
            rows += [row("paper", label, np.nan, "dr_cpo", 0.9), row("paper", label, np.nan, "cpo_naive", 0.8 + jitter)]
            rows.append(row("paper", label, np.nan, "oo_rlhf", -0.5 if "contaminated" in label else 0.9))
        for outcome, assignment in product(("right", "wrong"), repeat=2):
            share, imbalance = (-0.5, 4.0) if outcome == assignment == "wrong" else (0.9, 1.0)
            method = f"outcome {outcome}, assignment {assignment}"
            rows.append(row("grid", "template", 1.0, method, share, run_imbalance=imbalance))
        for strength, n, method in product((0.0, 1.0), (2000, 8000), ("dr_cpo", "kto", "oracle")):
            gain = 0.9 + 0.001 * seed
            left = {"n": n, "reached_gain": gain, "reached_kl": 1.0, "gain_far": 1.0 + 0.001 * seed}
            rows.append(row("reached", "template", strength, method, 0.9, all_ci_low=0.5, **left))
        for method in ("dr_cpo", "cpo"):
            rows.append(row("reached texts", "semi-synthetic", 0.0, method, 0.9, reached_gain=0.9 + jitter))
        rows.append(row("failures", "thin overlap", 1.0, "dr_cpo", 0.5, run_thin_overlap=True))
        rows.append(row("failures", "hidden confounder", 1.0, "dr_cpo", 0.1, run_robustness_value_interval=0.01))
    return pd.DataFrame(rows)


def test_bars_see_what_they_should() -> None:
    good = ideal_results()
    assert all(bar.holds for bar in bars(good)), [bar for bar in bars(good) if not bar.holds]
    (alone,) = bars(good[good["method"] == "kto"])  # one method alone, with --only
    assert "naive method (kto)" in alone.name

    def failing(changes: dict[str, object], **where: object) -> list[str]:
        broken = good.copy()
        rows = np.logical_and.reduce([broken[name] == value for name, value in where.items()])
        for column, value in changes.items():
            broken.loc[rows, column] = value
        return [bar.name for bar in bars(broken) if not bar.holds]

    assert "winner" in failing({"gain_common": 1.2}, part="strength", strength=0.0, method="kto")[0]
    assert "naive method (kto)" in failing({"gain_share_common": 0.5}, strength=1.0, method="kto")[0]
    assert len(failing({"gain_share": 0.7}, part="strength", strength=1.0, method="dr_cpo")) == 2
    assert "of oo_rlhf" in failing({"gain_share_common": 0.5}, world="contaminated outcome model", method="oo_rlhf")[0]
    assert "of dr_cpo" in failing({"gain_share_common": 0.5}, world="contaminated outcome model", method="dr_cpo")[0]
    assert "either" in failing({"gain_share": 0.5}, method="outcome wrong, assignment right")[0]
    assert "both wrong" in failing({"gain_share": 0.5}, method="outcome wrong, assignment wrong")[0]
    for texts, name in (("run", "given the world's texts"), ("all", "of all texts that are written")):
        found = failing({f"{texts}_ci_low": 1.0}, part="strength", method="dr_cpo", strength=0.0)
        assert len(found) == 1
        assert found[0].startswith("coverage")
        assert name in found[0]
    ours = {"part": "reached", "method": "dr_cpo"}
    below = failing({"reached_gain": 0.7}, **ours, strength=1.0, n=2000)
    assert below == ["2000 rows, confounding 1: reached gain of dr_cpo over the oracle's at 1.5 nats (10 seeds)"]
    assert "8000 rows" in failing({"reached_gain": 0.8}, **ours, strength=1.0, n=8000)[0]
    assert "best other method's (kto" in failing({"reached_gain": 1.2}, part="reached", method="kto", strength=0.0)[0]
    few = {"part": "reached", "method": "dr_cpo", "strength": 1.0}
    losing = failing({"reached_gain": -1e-3}, **few, n=2000)
    assert any("10 true losses in 40 runs" in name for name in losing)
    assert any(
        "30 intervals of dr_cpo that cover in 40" in name for name in failing({"all_ci_low": 0.6}, **few, n=2000)
    )
    real = failing({"reached_gain": 0.8}, part="reached texts", method="dr_cpo")
    assert real == ["real texts, no confounding: reached gain of dr_cpo over that of cpo (10 seeds)"]
    assert "thin overlap" in failing({"run_thin_overlap": False}, world="thin overlap")[0]
    assert failing({"run_thin_overlap": False, "run_nuisance_failed": True}, world="thin overlap") == []
    noisy = good.copy()
    honest = (noisy["world"] == "honest outcome model") & (noisy["method"] == "dr_cpo")
    noisy.loc[honest, "gain_share_common"] += 0.2 * np.random.default_rng(0).normal(size=honest.sum())
    assert "sd over seeds" in next(bar.name for bar in bars(noisy) if not bar.holds)


def test_intervals_are_students(world: TemplateWorld) -> None:
    part = ideal_results().query("part == 'strength' and method == 'dr_cpo' and strength == 0")
    found = over_seeds(part, "gain").iloc[0]
    half = 2.2621571628 * part["gain"].std() / np.sqrt(10)
    assert found["high"] - found["mean"] == pytest.approx(half)
    assert not warned(part).any()
