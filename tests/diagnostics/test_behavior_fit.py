"""The fit of q against laws whose area under the curve is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from causalopt.density_ratio import TwoSamples
from causalopt.diagnostics.behavior_fit import BehaviorFit, _area_within_folds, behavior_fit, two_samples
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import DataError

OPENINGS = ("Hello friend", "Dear neighbour", "Good morning", "A short word", "Please read")
REASONS = ("hungry children are waiting", "the shelter turns forty", "each dollar buys four meals", "winter is near")
PLEAS = (
    "spare one free hour",
    "join us monthly",
    "give what you can",
    "tell two people",
    "come on Sunday",
    "write back",
)
CLOSINGS = ("with warm thanks", "no strings attached", "only if able", "today", "and bring a friend")


def sentences(n: int, rng: np.random.Generator) -> list[str]:
    slots = (OPENINGS, REASONS, PLEAS, CLOSINGS)
    return [", ".join(str(rng.choice(slot)) for slot in slots) + f" {rng.integers(1000)}" for _ in range(n)]


def shuffled_letters(texts: list[str], rng: np.random.Generator) -> list[str]:
    return ["".join(rng.permutation(list(text))) for text in texts]


def words_at_random(texts: list[str], rng: np.random.Generator) -> list[str]:
    words = " ".join(texts).split()
    return [" ".join(rng.choice(words, len(text.split()))) for text in texts]


@pytest.mark.parametrize("distance", [0.5, 1.5])
def test_two_normal_laws_have_the_area_of_the_direction_they_differ_in(distance):
    """Which scikit-learn counts on the same sample, and which is Phi(d / sqrt 2); learning it costs next to nothing."""
    rng = np.random.default_rng(0)
    drawn = rng.normal([distance, 0, 0], 1.0, size=(1500, 3))
    logged = rng.normal(size=(1500, 3))
    found = behavior_fit(logged, drawn)
    best = roc_auc_score(np.repeat([0, 1], 1500), np.concatenate([logged, drawn])[:, 0])
    assert best - 0.015 < found.auc < best + 0.005
    assert abs(best - norm.cdf(distance / np.sqrt(2))) < 0.04  # 4 standard errors
    assert found.judgement == ("questionable" if distance == 0.5 else "bad")


@pytest.mark.parametrize("spread", [0.8, 1.2])
def test_a_law_that_is_only_narrower_or_wider_is_seen(spread):
    """Best areas 0.570 and 0.558, 4 and 3 standard errors from good; a line in x would stay at 0.5."""
    rng = np.random.default_rng(1)
    found = behavior_fit(rng.normal(size=(2500, 1)), spread * rng.normal(size=(5000, 1)))
    assert found.judgement == "questionable"
    assert found.auc_low > 0.5
    assert found.auc < 0.6


def test_holes_that_neither_mean_nor_spread_shows():
    """A law on two sides of nothing, with mean 0 and variance 1, against a normal one: for trees alone."""
    rng = np.random.default_rng(2)
    sides = rng.choice([-1, 1], size=(1500, 1)) * (0.95 + np.sqrt(1 - 0.95**2) * rng.normal(size=(1500, 1)))
    assert behavior_fit(sides, rng.normal(size=(1500, 1))).auc > 0.6


@pytest.mark.parametrize("kind", ["independent", "repeated", "prompts"])
def test_one_law_is_within_the_interval(kind, monkeypatch):
    """Texts of one row; texts with six rows; and prompts with two draws each; by two quick classifiers.

    With a coverage of 0.93 or more, 100 intervals cover fewer than 83 times with a probability below 1e-3; with the
    folds taken for independent they cover 0.83, and with rows for units, where texts repeat, fewer still.
    """
    module = "causalopt.diagnostics.behavior_fit"
    line, squares = LogisticRegression(), make_pipeline(PolynomialFeatures(2), LogisticRegression())
    monkeypatch.setattr(f"{module}.candidates", lambda x: [line])
    monkeypatch.setattr(f"{module}._TREES", squares)
    rng = np.random.default_rng(3)
    found = [behavior_fit(**same_law(kind, rng), seed=i) for i in range(100)]
    assert sum(fit.auc_low <= 0.5 <= fit.auc_high for fit in found) >= 83
    assert abs(np.mean([fit.auc for fit in found]) - 0.5) < 0.03
    assert not any(fit.bars_finding for fit in found)


def test_a_draw_is_of_the_unit_and_the_fold_of_its_row():
    rng = np.random.default_rng(11)
    reader, row = np.repeat(np.arange(10), 3), rng.integers(0, 30, 50)
    x, drawn = rng.normal(size=(30, 2)), rng.normal(size=(50, 2))
    sample, unit = two_samples(x, drawn, None, reader, row, 5, 0)
    assert np.array_equal(unit, np.concatenate([reader, reader[row]]))
    assert np.array_equal(sample.fold[30:], sample.fold[row])
    assert all(len(set(sample.fold[unit == k])) == 1 for k in range(10))
    sample, unit = two_samples(np.repeat(x, 2, axis=0), x[:5], None, None, None, 5, 0)
    assert len(set(unit[:60])) == 30
    assert len(set(unit)) == 35  # independent draws, each a unit, and in the fold of the logged text that they equal
    assert np.array_equal(sample.fold[60:], sample.fold[:10:2])


def test_64_columns_and_300_texts_are_not_learnt_by_heart():
    """The mean of 6 areas has a standard error of 0.014."""
    rng = np.random.default_rng(12)
    found = [behavior_fit(rng.normal(size=(300, 64)), rng.normal(size=(300, 64)), seed=i) for i in range(6)]
    assert abs(np.mean([fit.auc for fit in found]) - 0.5) < 0.06
    assert sum(fit.auc_low <= 0.5 <= fit.auc_high for fit in found) >= 4


def same_law(kind, rng):
    if kind == "repeated":
        return {"x_logged": np.repeat(rng.normal(size=(40, 2)), 6, axis=0), "x_reference": rng.normal(size=(200, 2))}
    if kind == "prompts":
        prompts = rng.normal(size=(70, 2))
        row = np.repeat(np.arange(70), 2)
        logged = np.hstack([prompts + 0.5 * rng.normal(size=(70, 2)), prompts])
        drawn = np.hstack([prompts[row] + 0.5 * rng.normal(size=(140, 2)), prompts[row]])
        return {"x_logged": logged, "x_reference": drawn, "row": row, "cluster": np.arange(70)}
    return {"x_logged": rng.normal(size=(80, 2)), "x_reference": rng.normal(size=(80, 2))}


def test_the_area_is_that_of_pairs_within_folds():
    rng = np.random.default_rng(4)
    sample = TwoSamples.of(rng.normal(size=(60, 1)), rng.normal(size=(90, 1)), weight=rng.uniform(size=60))
    score = np.round(rng.normal(size=150) + 3 * sample.fold, 1)  # with ties; folds far apart
    area, influence = _area_within_folds(score, sample)
    areas, sizes = [], []
    for k in range(5):
        i = sample.fold == k
        areas.append(roc_auc_score(sample.label[i], score[i], sample_weight=sample.weight[i]))
        sizes.append(np.sqrt(np.prod([sample.weight[i & (sample.label == side)].sum() for side in (0, 1)])))
    assert area == pytest.approx(np.average(areas, weights=sizes))
    assert abs(influence.sum()) < 1e-12


@pytest.mark.parametrize("make", [shuffled_letters, words_at_random])
def test_gibberish_after_900_sentences_bars_a_finding(make):
    """Ratios of one gibberish model to another are near one: nothing but its own texts shows it."""
    rng = np.random.default_rng(5)
    real = sentences(900, rng)
    drawn = make(sentences(300, rng), rng)
    embedder = TfidfSvdEmbedder().fit(real + drawn)
    found = behavior_fit(embedder.transform(real), embedder.transform(drawn))
    assert found.auc > 0.97
    assert found.bars_finding
    assert found.sentence.endswith("they are not alike, and every ratio to it is wrong.")


def test_sentences_of_the_same_grammar_are_alike():
    rng = np.random.default_rng(6)
    real, drawn = sentences(900, rng), sentences(600, rng)
    embedder = TfidfSvdEmbedder().fit(real + drawn)
    found = behavior_fit(embedder.transform(real), embedder.transform(drawn))
    assert found.auc_low <= 0.5
    assert found.judgement in ("good", "unclear")


def test_a_model_that_writes_one_text_is_told_apart():
    rng = np.random.default_rng(7)
    assert behavior_fit(rng.normal(size=(100, 2)), np.full((50, 2), 9.0)).bars_finding


def test_draws_that_are_far_apart_with_few_texts_have_an_interval():
    rng = np.random.default_rng(8)
    found = behavior_fit(rng.normal(size=(6, 2)), rng.normal(9, 1, size=(6, 2)))
    assert found.auc == 1.0
    assert found.auc_low < 0.9


@pytest.mark.parametrize(
    ("area", "judgement", "words"),
    [
        ((0.50, 0.46, 0.54), "good", "they are alike."),
        ((0.60, 0.55, 0.65), "questionable", "no interval includes"),
        ((0.93, 0.90, 0.95), "bad", "0.93 (0.90 to 0.95): they are not alike, and every ratio to it is wrong."),
        ((0.60, 0.45, 0.74), "unclear", "90 logged units are too few"),
        ((0.50, 0.25, 0.75), "unclear", "90 logged units are too few"),
        ((0.85, 0.52, 0.97), "questionable", "no interval includes"),
    ],
)
def test_the_judgement_is_by_size_and_the_interval_decides_where_it_is_wide(area, judgement, words):
    fit = BehaviorFit(*area, level=0.95, clusters=90)
    assert fit.judgement == judgement
    assert fit.bars_finding == (judgement == "bad")
    assert words in fit.sentence
    assert fit.sentence.startswith("The reference policy stands for the writer of the logged texts: ")


def test_exposures_change_the_logged_law():
    """Exposed as exp(x), a standard normal law is one about 1."""
    rng = np.random.default_rng(9)
    logged, drawn = rng.normal(size=(2000, 1)), rng.normal(1.0, 1.0, size=(2000, 1))
    assert behavior_fit(logged, drawn).bars_finding
    assert behavior_fit(logged, drawn, weight=np.exp(logged[:, 0])).auc < 0.56


def test_bad_input_is_named():
    x = np.random.default_rng(10).normal(size=(20, 3))
    with pytest.raises(DataError, match="20 logged texts are of 1 cluster"):
        behavior_fit(x, x, cluster=np.zeros(20))
    with pytest.raises(DataError, match="row must hold the position, 0 to 19"):
        behavior_fit(x, x, row=np.full(20, 20))
    with pytest.raises(DataError, match="3 dimensions and x_policy 2"):
        behavior_fit(x, x[:, :2])
    with pytest.raises(DataError, match="level must lie between 0 and 1"):
        behavior_fit(x, x, level=95)
