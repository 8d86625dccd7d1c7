"""Real texts, simulated readers: the law against its docstring, sums done another way, and samples.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import chisquare
from sklearn.linear_model import LinearRegression

from causalopt.backends.finite import FinitePolicy
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import ConfigError, DataError, DroppedRowsWarning
from causalopt.simulation import SemiSyntheticWorld, World
from causalopt.simulation.grammar import sentences

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 rows of 240 texts, each in one row, two or more."""
    rng = np.random.default_rng(0)
    texts = [sentences()[0][i] for i in rng.choice(1800, 240, replace=False)]
    rows = [*texts, *rng.choice(texts, 160)]
    path = tmp_path_factory.mktemp("table") / "letters.csv"
    pd.DataFrame({"letter": rows, "resp": "not a number"}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def world(table: Path) -> SemiSyntheticWorld:
    return SemiSyntheticWorld(path=table, text="letter", dimensions=4, readers=50, seed=0)


def naive_mean(world: SemiSyntheticWorld) -> np.ndarray:
    joint = np.exp(world.log_assignment)
    return np.asarray((joint * world.outcome_mean).sum(0) / joint.sum(0))


def naive_slope(world: SemiSyntheticWorld) -> float:
    fit = LinearRegression().fit(world.dose_response[:, None], naive_mean(world), np.exp(world.log_behavior))
    return float(fit.coef_[0])


def ess_fraction(world: SemiSyntheticWorld) -> float:
    s = np.exp(world.log_behavior - world.log_assignment)
    return float(1 / (np.exp(world.log_assignment) * s**2).sum(1).mean())


def test_it_is_a_world(world: SemiSyntheticWorld, table: Path) -> None:
    assert isinstance(world, World)
    again = SemiSyntheticWorld(**{key: value for key, value in world.describe().items() if key != "name"})
    np.testing.assert_array_equal(again.outcome_mean, world.outcome_mean)
    assert world.texts == pd.read_csv(table)["letter"].drop_duplicates().tolist()
    assert list(world.sample(20, seed=0).covariates.columns) == ["engagement", "age", "region"]


def test_the_embedding_is_that_of_the_texts(world: SemiSyntheticWorld) -> None:
    """Another route to principal components: each is a linear map of the embedder's own vectors, and white."""
    vectors = TfidfSvdEmbedder().fit(world.texts).transform(world.texts)
    assert LinearRegression().fit(vectors, world.embedding).score(vectors, world.embedding) > 1 - 1e-8
    np.testing.assert_allclose(world.embedding.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(world.embedding.T @ world.embedding / len(world.texts), np.eye(4), atol=1e-9)
    centred = vectors - vectors.mean(0)
    leading = np.linalg.eigvalsh(np.cov(centred.T, bias=True))[::-1][:4]
    np.testing.assert_allclose(((centred.T @ world.embedding / len(vectors)) ** 2).sum(0), leading, rtol=1e-4)


def test_the_law_is_the_documented_one(table: Path) -> None:
    """Written out from the docstring, for every reader and text."""
    world = SemiSyntheticWorld(
        path=table, text="letter", dimensions=4, readers=40, nonlinear=0.0, heterogeneity=0.0, overlap=0.6, seed=2
    )
    fit = LinearRegression().fit(world.embedding, world.dose_response)
    assert fit.score(world.embedding, world.dose_response) == pytest.approx(1, abs=1e-10)
    assert np.linalg.norm(fit.coef_) == pytest.approx(0.6)
    h = (world.dose_response - world.dose_response.mean()) / 0.6
    a = -(np.tanh(h) - np.tanh(h).mean()) / np.tanh(h).std()
    w = world.readers
    age = (w["age"] - w["age"].mean()) / w["age"].std(ddof=0)
    counts = pd.read_csv(table)["letter"].value_counts().loc[world.texts]
    rest = world.log_assignment - 0.7 * np.outer(w["engagement"], a) - np.log(counts.to_numpy())
    # What is left is 1.2 * 0.4 * age * b(x) and each reader's normaliser.
    rest = rest - rest.mean(1, keepdims=True)
    b = np.linalg.lstsq(age.to_numpy()[:, None], rest, rcond=None)[0][0]
    np.testing.assert_allclose(rest, np.outer(age, b), atol=1e-10)
    assert b.std() == pytest.approx(1.2 * 0.4)
    assert b @ a == pytest.approx(0, abs=1e-9)
    effect = world.outcome_mean - world.dose_response
    by_hand = (
        2 * w["engagement"] + 0.3 * (w["age"] - 49) / 18 + w["region"].map({"coast": 0.3, "hills": 0, "valley": -0.3})
    )
    np.testing.assert_allclose(
        effect, np.broadcast_to((by_hand - by_hand.mean()).to_numpy()[:, None], effect.shape), atol=1e-9
    )


@pytest.mark.parametrize("unmeasured", [0.0, 0.4])
def test_weights_average_to_one_and_recover_the_dose_response_unless_something_is_hidden(
    table: Path, unmeasured: float
) -> None:
    world = SemiSyntheticWorld(path=table, text="letter", dimensions=3, readers=40, unmeasured=unmeasured, seed=1)
    p = np.exp(world.log_assignment)
    s = np.exp(world.log_behavior - world.log_assignment_given(world.readers))
    assert (p * s).sum(1).mean() == pytest.approx(1, abs=1e-12)
    weighted = (p * s * world.outcome_mean).mean(0) / np.exp(world.log_behavior)
    error = np.abs(weighted - world.dose_response).max()
    assert error < 1e-10 if unmeasured == 0 else error > 0.3
    assert np.abs(naive_mean(world) - world.dose_response).max() > 1


@pytest.mark.parametrize("seed", range(3))
def test_dials(table: Path, seed: int) -> None:
    def made(**dials: float) -> SemiSyntheticWorld:
        return SemiSyntheticWorld(path=table, text="letter", dimensions=4, readers=50, seed=seed, **dials)

    slopes = [naive_slope(made(confounding=dial)) for dial in (0.0, 0.3, 1.0)]
    assert slopes[0] == pytest.approx(1, abs=1e-10)
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[2] < -0.1
    assert 0.8 * ess_fraction(made()) > ess_fraction(made(overlap=0.5)) > 2 * ess_fraction(made(overlap=0.1))
    bent = made(nonlinear=0.5)
    assert LinearRegression().fit(bent.embedding, bent.dose_response).score(bent.embedding, bent.dose_response) < 0.8

    def reader_by_text(world: SemiSyntheticWorld) -> float:
        m = world.outcome_mean
        return float((m - m.mean(0) - m.mean(1, keepdims=True) + m.mean()).std())

    assert reader_by_text(made(heterogeneity=0.0)) == pytest.approx(0, abs=1e-10)
    assert reader_by_text(made(heterogeneity=0.5)) == pytest.approx(0.5, abs=1e-9)


def test_samples_follow_the_law(world: SemiSyntheticWorld) -> None:
    """Chi-square of 240 counts (failure probability 1e-6); |z| below 5 for the weighted value (6e-7)."""
    n = 100_000
    data = world.sample(n, seed=3)
    index = world.index_of(data.texts)
    assert chisquare(np.bincount(index, minlength=240), n * np.exp(world.log_behavior)).pvalue > 1e-6
    s = world.true_stabilized_weight(data.texts, data.covariates)
    policy = FinitePolicy(world.texts, world.log_behavior, world.embedding, np.array([0.3, 0.0, -0.3, 0.0]))
    truth = world.true_value(policy).value
    assert truth == pytest.approx(softmax(world.log_behavior + world.embedding @ policy.theta) @ world.dose_response)
    rho = np.exp(policy.log_prob(None, data.texts) - world.log_behavior[index])
    terms = rho * s * data.outcome
    assert abs(terms.mean() - truth) < 5 * terms.std() / np.sqrt(n)


def test_any_table_and_embedder(tmp_path: Path, table: Path) -> None:
    rows = [{"body": text} for text in pd.read_csv(table)["letter"][:30]] + [{"body": None}, {"body": "  "}]
    path = tmp_path / "posts.jsonl"
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    with pytest.warns(DroppedRowsWarning, match="2 of 32 rows left out, which have no body"):
        world = SemiSyntheticWorld(
            path=path, text="body", texts=20, dimensions=2, embedder={"name": "tfidf-svd", "ngram_max": 1}
        )
    assert len(world.texts) == 20
    assert world.describe()["embedder"] == {"name": "tfidf-svd", "ngram_max": 1}


@pytest.mark.filterwarnings("ignore::causalopt.errors.DroppedRowsWarning")
@pytest.mark.parametrize("name", ["hongkong/wave1.csv", "hongkong/wave2.csv", "popquorn/offensiveness.csv"])
def test_published_texts(name: str) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the repository")
    slopes = [naive_slope(SemiSyntheticWorld(path=path, texts=600, confounding=dial)) for dial in (0.0, 1.0)]
    assert slopes[0] == pytest.approx(1, abs=1e-10)
    assert slopes[1] < -0.1


def test_bad_input(tmp_path: Path, table: Path) -> None:
    for setting in ({"overlap": 0.0}, {"dimensions": 1}, {"texts": 2}, {"readers": 1}, {"unmeasured": 2}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            SemiSyntheticWorld(path=table, text="letter", **setting)
    with pytest.raises(DataError, match="no column 'text'; it has: letter, resp"):
        SemiSyntheticWorld(path=table)
    with pytest.raises(DataError, match="there is no such file"):
        SemiSyntheticWorld(path=tmp_path / "none.csv")
    short = tmp_path / "short.csv"
    short.write_text("text\na b\nc d\na b\n")
    with pytest.raises(DataError, match="2 distinct texts"):
        SemiSyntheticWorld(path=short)
    with pytest.raises(DataError, match="lower the world's dimensions"):
        SemiSyntheticWorld(path=table, text="letter", texts=5)
