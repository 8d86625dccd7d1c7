"""Rows in blocks and rows that repeat: the same numbers as from all rows at once, in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import astuple

import lightgbm
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

import causalopt as co
from causalopt.blocks import ROWS, blocks, by_blocks
from causalopt.data.folds import row_codes
from causalopt.diagnostics import support as of_support
from causalopt.diagnostics.support import support
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.evaluation.score import DISCRIMINANT_PENALTIES, _discriminant
from causalopt.nuisance import pair_rows
from causalopt.nuisance.assignment import gaussian
from causalopt.nuisance.assignment.classifier import ClassifierAssignment
from causalopt.nuisance.assignment.gaussian import GaussianAssignment
from causalopt.nuisance.coordinates import PrincipalCoordinates
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.outcome.ridge import BilinearDesign, Moments, RidgeOutcome
from causalopt.nuisance.outcome.trees import Boosting, Columns
from causalopt.nuisance.riesz import PolicyTexts, balancing_weights
from causalopt.repeated import RepeatedRows

N, TEXTS = ROWS + 1500, 150


@pytest.fixture(scope="module")
def law():
    """Rows of texts that repeat: repeated x, covariates, outcome, weight, text."""
    rng = np.random.default_rng(3)
    table = (rng.normal(size=(TEXTS, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
    w = rng.normal(size=(N, 2))
    place = (TEXTS * norm.cdf(0.5 * w[:, 0] + rng.normal(size=N), scale=np.sqrt(1.25))).astype(int)
    text = np.argsort(table[:, 0])[np.minimum(place, TEXTS - 1)]
    y = table[text, 0] * (1 + 0.5 * w[:, 1]) + w[:, 0] + rng.normal(size=N)
    return RepeatedRows(table, text), w, y, rng.uniform(0.5, 2.0, N), text


def test_a_block_ends_with_the_rows():
    assert [one.stop - one.start for one in blocks(10, rows=4)] == [4, 4, 2]
    x = np.arange(30.0).reshape(10, 3)
    assert np.array_equal(by_blocks(lambda a, b: a * b[:, None], x, x[:, 0], rows=4), x * x[:, :1])


def test_rows_that_repeat_are_an_array():
    rng = np.random.default_rng(0)
    table, code = rng.normal(size=(5, 3)).astype(np.float32), rng.integers(0, 5, 40)
    rows, array = RepeatedRows(table, code), table[code]
    mask = rng.random(40) < 0.5
    for index in (mask, np.flatnonzero(mask), slice(3, 9), (mask, slice(None, 2)), 7):
        assert np.array_equal(np.asarray(rows[index]), array[index])
    assert rows.shape == array.shape
    assert np.asarray(rows, dtype=np.float64).dtype == np.float64
    assert np.array_equal(row_codes(rows), row_codes(array))


def test_codes_of_many_rows_are_those_of_few():
    rng = np.random.default_rng(1)
    rows = rng.integers(-1, 2, size=(ROWS + 500, 4)) * 1.0
    rows[rng.random(rows.shape) < 0.2] *= -0.0
    first = row_codes(rows[:ROWS])
    assert np.array_equal(row_codes(rows)[:ROWS], first)
    assert first.max() > 40
    assert np.array_equal(row_codes(rows[:, :1]), pd.factorize(rows[:, 0] + 0.0)[0])


def test_coordinates_are_those_of_all_rows_at_once(law):
    x, _, _, weight, _ = law
    rows = np.flatnonzero(np.arange(N) % 7 > 0)
    array, share = np.asarray(x, dtype=np.float64)[rows], weight[rows] / weight[rows].sum()
    covariance = (array - share @ array).T @ ((array - share @ array) * share[:, None])
    for form in (x, np.asarray(x)):
        found = PrincipalCoordinates.of(form, weight, rows)
        assert found.center == pytest.approx(share @ array, rel=1e-12)
        assert found.variance == pytest.approx(np.linalg.eigvalsh(covariance)[::-1], rel=1e-9)
        u = found.transform(form)[rows]
        assert np.abs((u * share[:, None]).T @ u - np.eye(6)).max() < 1e-9


def test_sums_by_text_are_sums_by_row(law):
    x, w, y, weight, _ = law
    design = BilinearDesign.of(x, w, weight, products=7)
    rows = np.flatnonzero(np.arange(N) % 9 > 0)
    outcomes = np.column_stack([y, y**2])
    by_text = design._moments_by_text(x, w, outcomes, weight, rows)
    z, root = np.column_stack([np.ones(len(rows)), design.matrix(x[rows], w[rows])]), weight[rows]
    by_row = Moments.of_each(design.parts(x, w, outcomes, weight, rows))
    for k, (one, other) in enumerate(zip(by_text, by_row, strict=True)):
        for found in (one, other):
            assert np.allclose(found.zz, (z * root[:, None]).T @ z, rtol=1e-12, atol=1e-9)
            assert np.allclose(found.zy, z.T @ (root * outcomes[rows, k]), rtol=1e-12, atol=1e-9)
            assert found.yy == pytest.approx(root @ outcomes[rows, k] ** 2, rel=1e-12)


@pytest.mark.parametrize("make", [RidgeOutcome, lambda: co.nuisance.outcome.trees.RidgeLightGBMOutcome(rounds=20)])
def test_an_outcome_model_of_texts_that_repeat_is_that_of_their_rows(law, make):
    x, w, y, weight, text = law
    of_texts, of_rows = (make().fit(form, w, y, weight, text) for form in (x, np.asarray(x, dtype=np.float64)))
    other = np.random.default_rng(0).normal(size=(ROWS + 100, 6)).astype(np.float32)
    readers = np.resize(w, (len(other), 2))
    assert np.abs(of_texts.predict(other, readers) - of_rows.predict(other, readers)).max() < 1e-9
    assert np.abs(of_texts.marginal(other, w, weight) - of_rows.marginal(other, w, weight)).max() < 1e-9
    pairs = [of_rows.predict(np.tile(one, (N, 1)), w) for one in other[:3]]
    assert of_rows.marginal(other[:3], w, weight) == pytest.approx([weight @ p / weight.sum() for p in pairs], abs=1e-9)
    assert np.abs(of_texts.reader_response(other, w[:50]) - of_rows.reader_response(other, w[:50])).max() < 1e-9
    mean = np.mean([of_rows.predict(np.tile(one, (3, 1)), w[:3]) for one in other], axis=0)
    assert of_rows.reader_response(other, w)[:3] == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("make", [GaussianAssignment, ClassifierAssignment])
def test_a_weight_of_texts_that_repeat_is_that_of_their_rows(law, make, monkeypatch):
    x, w, _, weight, text = law
    monkeypatch.setattr(gaussian, "MANY_ROWS", 1000)
    of_texts, of_rows = (make().fit(form, w, weight, text) for form in (x, np.asarray(x, dtype=np.float64)))
    found = of_texts.stabilized_weight(x, w)
    assert np.ptp(found) > 0.1
    assert found == pytest.approx(of_rows.stabilized_weight(np.asarray(x), w), rel=1e-9)
    few = slice(5000, 5200)
    assert found[few] == pytest.approx(of_texts.stabilized_weight(x[few], w[few]), rel=1e-9)


def test_trees_of_columns_in_blocks_are_those_of_the_matrix(law):
    x, w, y, weight, _ = law
    parameters = Boosting().parameters()
    matrix = np.hstack([np.asarray(x), w])
    dumps = [
        lightgbm.train(parameters, lightgbm.Dataset(data, y, weight=weight, params=parameters), 10).model_to_string()
        for data in (Columns(x, w), matrix)
    ]
    assert dumps[0] == dumps[1]


@pytest.mark.parametrize("crossed", [True, False])
def test_balancing_weights_in_blocks_are_those_of_all_rows_at_once(law, crossed, monkeypatch):
    x, w, y, weight, _ = law
    rng = np.random.default_rng(5)
    row = None if crossed else rng.integers(0, N, 5000)
    policies = [
        PolicyTexts(x.table[rng.integers(0, 40, 5000)], np.full(5000, 1 / 5000), row, rng.normal(size=5000)),
        PolicyTexts(x.table, np.full(TEXTS, 1 / TEXTS), None if crossed else np.arange(TEXTS), rng.normal(size=TEXTS)),
    ]
    score, found = rng.normal(size=N), []
    for form, block in ((x, 1000), (np.asarray(x, dtype=np.float64), 10**6)):
        monkeypatch.setattr(pair_rows, "BLOCK", block)
        one = balancing_weights(form, w, policies, weight, np.arange(N) % 5, score=score)
        readers = one.fitted_at_readers(y, 0)
        assert (readers is not None) == crossed
        found.append(
            [one.alpha, one.penalty, one.wanted, one.fitted_at_texts(y, 0), one.worst_case_bias(y), one.unbalanced]
            + ([readers] if crossed else [])
        )
    for one, other in zip(*found, strict=True):
        assert np.allclose(np.abs(one), np.abs(other), rtol=1e-8, atol=1e-9)  # axes have no sign
    mean = np.average(found[0][0], weights=weight, axis=1)
    assert mean == pytest.approx(np.ones(2), abs=1e-9)


def test_a_table_of_repeated_rows_is_cross_fitted_as_its_array(law):
    x, w, y, weight, text = law
    fits = [
        cross_fit(form, w, y, weight, text, text_id=text, outcome_model="ridge", assignment_model="gaussian", folds=3)
        for form in (x, np.asarray(x, dtype=np.float64))
    ]
    new = np.random.default_rng(0).normal(size=(4, 6))
    for name in ("m", "s", "g"):
        assert getattr(fits[0], name) == pytest.approx(getattr(fits[1], name), rel=1e-9, abs=1e-9)
    assert fits[0].dose_response(new) == pytest.approx(fits[1].dose_response(new), abs=1e-9)
    readers, exposure = fits[0].readers.outside(0, 1)
    outside = fits[0].fold[0] != 1
    assert np.array_equal(readers, w[outside])  # continuous covariates: every reader is distinct
    assert exposure == pytest.approx(weight[outside])


def test_a_model_of_another_hand_gets_float64(law):
    seen = []

    class Mean:
        def fit(self, x, w, y, weight):
            seen.append((type(x), x.dtype))
            self.mean = float(np.mean(y))
            return self

        def predict(self, x, w):
            seen.append((type(x), x.dtype))
            return np.full(len(x), self.mean)

        def marginal(self, x, w_reference, weight_reference):
            seen.append((type(x), x.dtype))
            return np.full(len(x), self.mean)

    x, w, y, weight, text = law
    cross_fit(x, w, y, weight, text, text_id=text, outcome_model=Mean(), assignment_model="randomized", folds=2)
    assert set(seen) == {(np.ndarray, np.dtype(np.float64))}


def test_each_text_is_embedded_once():
    asked = []

    class Counting(TfidfSvdEmbedder):
        def transform(self, texts):
            asked.extend(texts)
            return super().transform(texts)

    rng = np.random.default_rng(0)
    texts = [f"word{i} word{i % 7} word{i % 3}" for i in range(30)]
    frame = pd.DataFrame({"text": rng.choice(texts, 600), "age": rng.normal(size=600), "outcome": rng.normal(size=600)})
    data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"])
    estimator = co.PseudoOutcomeEstimator(Counting(8), "ridge", "randomized", folds=2)
    pseudo = estimator.fit_transform(data)
    assert sorted(asked) == sorted(set(frame["text"]))
    assert pseudo.dose_response(data.texts) == pytest.approx(pseudo.g, abs=1e-9)


def test_the_discriminant_is_that_of_scikit_learn(law):
    table, rng = np.asarray(law[0].table, dtype=np.float64), np.random.default_rng(0)
    table[:, 5] = 2.0  # a constant column
    for other in (TEXTS, 40):
        code = [rng.integers(0, TEXTS, N), rng.integers(0, other, 900)]
        share = [one / one.sum() for one in (rng.random(N), rng.random(900))]
        x, weight = np.concatenate([table[one] for one in code]), np.concatenate(share)
        label = np.repeat([1.0, -1.0], [N, 900])
        scaled = StandardScaler().fit(x, sample_weight=len(x) / 2 * weight)
        model = RidgeCV(alphas=len(x) * DISCRIMINANT_PENALTIES)
        model.fit(scaled.transform(x), label, sample_weight=len(x) / 2 * weight)
        mean, slope = _discriminant([RepeatedRows(table, one) for one in code], share)
        expected = model.predict(scaled.transform(table))
        assert (table - mean) @ slope + expected[0] - (table[0] - mean) @ slope == pytest.approx(expected, abs=1e-9)


def test_texts_that_repeat_lie_as_far_from_the_logged_ones_as_their_rows(law, monkeypatch):
    x, _, _, weight, text = law
    rng = np.random.default_rng(0)
    drawn = RepeatedRows(np.concatenate([x.table[:9], x.table[:9] + 9.0]), np.arange(2000) % 18)
    found = support(x, drawn, weight=weight, cluster=text)
    assert found.outside == pytest.approx(0.5, abs=0.01)
    of_rows = support(np.asarray(x), np.asarray(drawn), weight=weight, cluster=text)
    assert astuple(of_rows) == pytest.approx(astuple(found), rel=1e-9)
    # A sample of neighbours leaves draws from the logged law where they are.
    monkeypatch.setattr(of_support, "MOST_TEXTS", 300)
    logged = rng.normal(size=(3000, 3))
    assert support(logged, rng.normal(size=(3000, 3))).outside < 0.03


_PEAK = """
import json, resource
import causalopt as co
from benchmarks.memory.rows import table
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy

peaks = []
for rows in (20_000, 60_000):
    data = co.DirectOutcomeDataset.from_frame(
        table(rows, 500), outcome="resp", covariates=["age", "engaged", "party"], behavior_log_prob="log_q",
        policy_log_prob="log_p", policy_text="drawn",
    )
    nuisances = co.PseudoOutcomeEstimator("tfidf-svd", "ridge", "gaussian", folds=2)
    pseudo = nuisances.fit_transform(data)
    co.evaluate(ExternalPolicy(data.policy_text), pseudo, reference=LoggedPolicy(), estimators=["balance", "dr"])
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_a_row_takes_less_than_one_and_a_half_kilobytes():
    # The allocator gives freed blocks back, so that the largest resident set is what was in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    small, large = json.loads(done.stdout.strip().splitlines()[-1])
    assert (large - small) / 40_000 < 1536
