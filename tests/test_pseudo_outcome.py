import warnings

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.data.population import Population
from causalopt.errors import CausalOptWarning, ConfigError, DataError, ModelError, OverlapWarning
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes

WORDS = (("help", "give", "act", "join"), ("now", "soon", "today"), ("please", "friend", "neighbour", "you", "all"))


def frame(n=300, seed=0, prompts=False):
    """Readers of age and party; the word "please" moves everybody by one, and the young a little more."""
    rng = np.random.default_rng(seed)
    parts = [rng.choice(words, n) for words in WORDS]
    age, party = rng.integers(18, 80, n).astype(float), rng.choice(["left", "right"], n)
    table = pd.DataFrame({"text": [" ".join(words) for words in zip(*parts, strict=True)], "age": age, "party": party})
    table["resp"] = (
        (parts[2] == "please") * (1 + 0.01 * (50 - age)) + 0.02 * age + (party == "left") + 0.1 * rng.normal(size=n)
    )
    if prompts:
        table["prompt"] = rng.choice(["question one", "another question"], n)
        table["resp"] += table["prompt"] == "another question"
    return table


def dataset(table, **roles):
    settings = {"text": "text", "outcome": "resp", "covariates": ["age", "party"], **roles}
    return co.DirectOutcomeDataset.from_frame(table, **settings)


def test_identities():
    data = dataset(frame(), covariates=[])
    for model in ("zero", "ridge", "ridge-lightgbm"):
        pseudo = PseudoOutcomeEstimator(outcome_model=model).fit_transform(data)
        np.testing.assert_array_equal(pseudo.s, 1)
        np.testing.assert_array_equal(pseudo.g, pseudo.m)
        np.testing.assert_array_equal(pseudo.xi, data.outcome)
    adjusted = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(dataset(frame()))
    np.testing.assert_allclose(adjusted.residual, adjusted.s * (adjusted.dataset.outcome - adjusted.m))
    np.testing.assert_allclose(adjusted.xi, adjusted.residual + adjusted.g, atol=1e-12)


def test_the_zero_model_and_random_assignment_turn_everything_off():
    data = dataset(frame())
    pseudo = PseudoOutcomeEstimator(outcome_model="zero", assignment_model="randomized").fit_transform(data)
    np.testing.assert_array_equal(pseudo.xi, data.outcome)
    np.testing.assert_array_equal(pseudo.g, 0)
    np.testing.assert_array_equal(pseudo.dose_response(["give now friend"]), 0)
    np.testing.assert_array_equal(pseudo.reader_response(["give now friend"]), 0)


def test_the_dose_response_of_new_texts():
    pseudo = PseudoOutcomeEstimator().fit_transform(dataset(frame(600)))
    texts = ["join soon please", "join soon friend"]
    g = pseudo.dose_response(texts)
    assert g[0] - g[1] == pytest.approx(1 + 0.01 * (50 - 48.5), abs=0.15)
    np.testing.assert_allclose(pseudo.dose_response(texts[::-1]), g[::-1])
    assert pseudo.dose_response([]).shape == (0,)
    h = pseudo.reader_response(texts)
    assert h.shape == (600,)
    assert np.average(h) == pytest.approx(g.mean(), abs=0.1)
    assert np.corrcoef(h, pseudo.dataset.covariates["age"])[0, 1] > 0.3


def test_texts_are_held_out_whole():
    pseudo = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(dataset(frame()))
    folds = pd.Series(pseudo.fold).groupby(pseudo.dataset.texts).nunique()
    assert (folds == 1).all()


def test_prompt_and_text_together_are_the_treatment():
    data = dataset(frame(600, prompts=True), prompt="prompt").with_population(Population(prompts="fixed"))
    pseudo = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(data)
    g = pseudo.dose_response(["act now you"] * 2, ["question one", "another question"])
    assert g[1] - g[0] == pytest.approx(1, abs=0.15)
    row = [data.prompts.index(prompt) for prompt in ("question one", "another question")]
    read = pseudo.row_response(["act now you"] * 2, np.array(row))
    assert np.isfinite(read).all()
    with pytest.raises(DataError, match=r"prompt 1 \('never asked'\) is not among the prompts"):
        pseudo.dose_response(["act now you"] * 2, ["question one", "never asked"])


def test_direction_plays_no_part():
    estimator = PseudoOutcomeEstimator(outcome_model="ridge")
    up, down = (estimator.fit_transform(dataset(frame(), direction=d)) for d in ("maximize", "minimize"))
    np.testing.assert_array_equal(up.xi, down.xi)


def test_the_same_seed_gives_the_same_numbers_and_the_estimator_keeps_nothing():
    estimator = PseudoOutcomeEstimator(seed=3)
    before = dict(vars(estimator))
    first, second = (estimator.fit_transform(dataset(frame())) for _ in range(2))
    pd.testing.assert_frame_equal(first.to_frame(), second.to_frame())
    assert vars(estimator) == before
    other = PseudoOutcomeEstimator(seed=4).fit_transform(dataset(frame()))
    assert (other.fold != first.fold).any()


def test_saved_and_read_back_equal(tmp_path):
    table = frame(prompts=True)
    table["exposure"], table["who"], table["brave"] = 2.0, np.arange(300) % 40, np.arange(300) % 2
    table.loc[3, "party"] = None
    table["log_q"] = -3.0
    roles = {"prompt": "prompt", "weight": "exposure", "reader": "who", "group": "who", "attributes": ["brave"]}
    data = dataset(table, **roles, behavior_log_prob="log_q", direction="minimize")
    pseudo = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(data)
    pseudo.save(tmp_path / "pseudo.parquet")
    loaded = PseudoOutcomes.load(tmp_path / "pseudo.parquet")
    pd.testing.assert_frame_equal(loaded.to_frame(), pseudo.to_frame(), check_exact=True)
    pd.testing.assert_frame_equal(loaded.scores, pseudo.scores, check_exact=True)
    assert loaded.dataset.fingerprint() == data.fingerprint()
    assert loaded.dataset.columns == data.columns
    assert loaded.dataset.direction == "minimize"
    assert loaded.truncated_mass == pseudo.truncated_mass
    assert list(pd.read_parquet(tmp_path / "pseudo.parquet").columns[:2]) == ["text", "outcome"]
    with pytest.raises(ModelError, match="read from a file"):
        loaded.dose_response(["act now you"], ["question one"])


def test_files_that_hold_no_pseudo_outcomes(tmp_path):
    frame(10).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    for name, message in (
        ("other", "holds no pseudo-outcomes"),
        ("text", "cannot be read"),
        ("none", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            PseudoOutcomes.load(tmp_path / f"{name}.parquet")


def test_the_table_of_the_run_directory():
    pseudo = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(dataset(frame()).subset(np.arange(50, 300)))
    table = pseudo.to_frame()
    assert list(table.columns) == ["row", "fold", "m", "s", "g", "residual", "xi"]
    assert table["row"].tolist() == list(range(50, 300))
    assert not table.isna().any().any()


def test_logged_weights_come_from_the_data_set():
    table = frame()
    table["log_p"], table["log_q"] = -2.0 + 0.01 * (table["age"] - 50), -2.0
    data = dataset(table, behavior_log_prob="log_q", assignment_log_prob="log_p")
    pseudo = PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="logged").fit_transform(data)
    np.testing.assert_allclose(pseudo.s, np.exp(-0.01 * (table["age"] - 50)))
    by_default = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(data)
    np.testing.assert_array_equal(by_default.s, pseudo.s)  # what was logged is not estimated
    few = dataset(frame(40), covariates=["age"])
    with pytest.raises(DataError, match="needs a column assignment_log_prob"):
        PseudoOutcomeEstimator(assignment_model="logged").fit_transform(few)
    unweighted = PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="logged")
    np.testing.assert_array_equal(unweighted.fit_transform(dataset(frame(), covariates=[])).s, 1)
    # What was logged is known without any covariate.
    logs = {"behavior_log_prob": "log_q", "assignment_log_prob": "log_p"}
    hidden = dataset(table, covariates=[], **logs)
    np.testing.assert_allclose(unweighted.fit_transform(hidden).s, np.exp(-0.01 * (table["age"] - 50)))
    wrong = dataset(table.assign(log_q=0.0, log_p=-2.0), covariates=[], **logs)
    with pytest.warns(OverlapWarning, match="mean of the stabilized weights is 7.39"):
        unweighted.fit_transform(wrong)


def test_nuisances_and_folds_from_outside():
    data = dataset(frame())
    n = len(data)
    m, g, s, fold = np.arange(n) / n, np.ones(n), np.full(n, 0.5), data.group % 3
    with pytest.warns(OverlapWarning, match="mean of the stabilized weights is 0.5"):
        pseudo = PseudoOutcomeEstimator().fit_transform(data, m=m, g=g, s=s, fold=fold)
    np.testing.assert_array_equal(pseudo.fold, fold)
    np.testing.assert_allclose(pseudo.xi, 0.5 * (data.outcome - m) + 1)
    np.testing.assert_allclose(pseudo.residual, 0.5 * (data.outcome - m))
    with pytest.raises(DataError, match="s has 7 rows, where the other arrays have 300"):
        PseudoOutcomeEstimator().fit_transform(data, s=np.ones(7))


def test_a_second_data_set_trains_the_outcome_model_alone():
    first, second = frame(120, seed=1), frame(900, seed=2)
    data = dataset(first)
    estimator = PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
    alone, helped = estimator.fit_transform(data), estimator.fit_transform(data, outcome_data=dataset(second))
    np.testing.assert_array_equal(alone.fold, helped.fold)
    assert np.mean((data.outcome - helped.m) ** 2) < np.mean((data.outcome - alone.m) ** 2)
    # The two share texts; a text's own rows in the second data set never reach the model that scores it.
    second.loc[second["text"] == first["text"][0], "resp"] = 1e6
    poisoned = estimator.fit_transform(data, outcome_data=dataset(second))
    assert abs(poisoned.m[0]) < 100
    assert np.abs(poisoned.m).max() > 1000
    with pytest.raises(DataError, match="covariate 'age' was there at fit time"):
        estimator.fit_transform(data, outcome_data=dataset(second, covariates=["party"]))
    with pytest.raises(DataError, match="must have prompts if and only if"):
        estimator.fit_transform(data, outcome_data=dataset(frame(50, prompts=True), prompt="prompt"))


def test_a_regression_on_coded_attributes():
    table = frame(600)
    table["polite"] = table["text"].str.contains("please").astype(float)
    table["urgent"] = table["text"].str.contains("now").astype(float)
    table["who"] = np.arange(600) % 97
    data = dataset(table, attributes=["polite", "urgent"], group="who")
    pseudo = PseudoOutcomeEstimator(embedder="attributes", outcome_model="elastic-net").fit_transform(data)
    g = pseudo.dose_response(["act now please", "act now you", "act soon you"])
    assert g[0] - g[1] == pytest.approx(1, abs=0.1)
    assert g[1] == pytest.approx(g[2], abs=0.1)
    with pytest.raises(DataError, match="has no coded attributes"):
        pseudo.dose_response(["never seen"])


def test_coded_texts_as_arms():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.normal(size=900), "who": np.arange(900)})
    arm = (rng.random(900) < 1 / (1 + np.exp(-table["age"]))).astype(int)
    table["text"] = np.array(["a plain text", "another one"])[arm]
    table["resp"] = arm - 2 * table["age"] + rng.normal(size=900)
    estimator = PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="arms")
    pseudo = estimator.fit_transform(dataset(table, covariates=["age"], group="who"))
    assert pseudo.xi[arm == 1].mean() - pseudo.xi[arm == 0].mean() == pytest.approx(1, abs=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)  # that two texts make two folds of one each
        with pytest.raises(DataError, match="there is a single text: no other arm"):
            estimator.fit_transform(dataset(table, covariates=["age"]))


def test_choices_and_settings_by_name():
    estimator = PseudoOutcomeEstimator(
        embedder={"name": "tfidf-svd", "dimensions": 8},
        outcome_model={"name": "best-of", "candidates": ["zero", {"name": "ridge", "products": 0}]},
        assignment_model=["randomized", {"name": "gaussian", "sample": 200}],
        repeats=2,
    )
    pseudo = estimator.fit_transform(dataset(frame()))
    assert set(pseudo.scores["model"]) == {"zero", "ridge", "randomized", "gaussian"}
    assert pseudo.scores["repeat"].max() == 1
    for wrong in ({"outcome_model": "rigde"}, {"assignment_model": {"name": "gaussian", "samples": 3}}):
        with pytest.raises(ConfigError, match="did you mean"):
            PseudoOutcomeEstimator(**wrong).fit_transform(dataset(frame()))


def test_constant_covariates_are_left_out_with_a_warning():
    table = frame().assign(constant=1.0)
    with pytest.warns(CausalOptWarning, match="constant were left out: constant"):
        pseudo = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(dataset(table, covariates=["constant"]))
    np.testing.assert_array_equal(pseudo.s, 1)


def test_confounding_is_removed_in_a_world_of_known_truth():
    """The naive effect of a text has the wrong sign; g and xi follow the truth."""
    world = co.simulation.TemplateWorld(confounding=1.0, seed=0)
    data = world.sample(2000, seed=1)
    pseudo = PseudoOutcomeEstimator().fit_transform(data)
    truth = world.true_dose_response(data.texts)
    weights = world.true_stabilized_weight(data.texts, data.covariates)
    assert np.corrcoef(data.outcome, truth)[0, 1] < 0
    assert np.corrcoef(pseudo.g, truth)[0, 1] > 0.95
    assert np.std(pseudo.g - truth) < 0.3 * np.std(truth)
    assert np.corrcoef(np.log(pseudo.s), np.log(weights))[0, 1] > 0.9
    slope = np.cov(pseudo.xi, truth)[0, 1] / np.var(truth)
    assert slope == pytest.approx(1, abs=0.2)
    new = pseudo.dose_response(world.texts)
    assert np.corrcoef(new, world.dose_response)[0, 1] > 0.95


def test_a_failed_assignment_model_leaves_the_outcome_model_alone_and_is_kept_in_the_file(tmp_path):
    class Half:
        def fit(self, x, w, weight):
            return self

        def stabilized_weight(self, x, w):
            return np.full(len(x), 0.5)

    data = dataset(frame())
    with pytest.warns(CausalOptWarning, match="values rely on the outcome model alone"):
        pseudo = PseudoOutcomeEstimator(outcome_model="ridge", assignment_model=Half()).fit_transform(data)
    assert not pseudo.corrected
    np.testing.assert_array_equal(pseudo.residual, 0)
    np.testing.assert_allclose(pseudo.xi, pseudo.g, atol=1e-12)
    pseudo.save(tmp_path / "pseudo.parquet")
    loaded = PseudoOutcomes.load(tmp_path / "pseudo.parquet")
    assert loaded.failures == pseudo.failures
    assert not loaded.corrected


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_outcomes_beyond_double_precision_are_refused_by_name(size):
    rows = frame()
    rows["resp"] *= size
    with pytest.raises(DataError, match="outcomes in column 'resp' reach"):
        dataset(rows)
