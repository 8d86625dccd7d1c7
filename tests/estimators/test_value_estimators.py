"""Each estimator against its closed form, written out in plain loops, and against identities."""

import math

import numpy as np
import pytest

from causalopt.errors import DataError
from causalopt.estimators.dm import ContextDraws
from causalopt.estimators.names import ESTIMATORS
from causalopt.evaluation import balance, clipped_ipw, dm, dr, dr_os, ipw, mdr, mips, sndr, snipw, switch_dr

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def loop_mean(values, weight):
    top = bottom = 0.0
    for v, a in zip(values, weight, strict=True):
        top += a * v
        bottom += a
    return top / bottom


def loop_jackknife_variance(value_of, n, cluster=None):
    """(G - 1) / G times the sum of squares of delete-one values about their mean; ``value_of`` takes kept rows."""
    labels = list(range(n)) if cluster is None else list(cluster)
    groups = sorted(set(labels))
    values = [value_of([i for i in range(n) if labels[i] != group]) for group in groups]
    mean = sum(values) / len(values)
    return (len(groups) - 1) / len(groups) * sum((v - mean) ** 2 for v in values)


def loop_ratio_value(ratio, reward, weight, reader, self_normalized):
    """Value and influence of the weighted part, plus the readers' part, from the definitions."""
    n = len(ratio)
    mean_weight = sum(weight) / n
    value = loop_mean([r * y for r, y in zip(ratio, reward, strict=True)], weight)
    mean_ratio = loop_mean(ratio, weight)
    if self_normalized:
        value /= mean_ratio
    mean_reader = loop_mean(reader, weight)
    influence = []
    for i in range(n):
        a = weight[i] / mean_weight
        term = ratio[i] / mean_ratio * (reward[i] - value) if self_normalized else ratio[i] * reward[i] - value
        influence.append(a * (term + reader[i] - mean_reader))
    return value, influence


def loop_draws(g_policy):
    m = len(g_policy)
    mean = sum(g_policy) / m
    return mean, sum((g - mean) ** 2 for g in g_policy) / (m - 1) / m


@pytest.fixture(params=[False, True], ids=["plain", "weights, readers and clusters"])
def options(request, study):
    if not request.param:
        return {}
    return {"reader_response": study.reader, "weight": study.weight, "cluster": study.texts}


def expected(study, options, ratio, reward, self_normalized, plug_in):
    weight = options.get("weight", np.ones(study.n))
    reader = options.get("reader_response", np.zeros(study.n))
    value, influence = loop_ratio_value(ratio, reward, weight, reader, self_normalized)

    def value_of(kept):
        """Without some rows; what g loses is the change of the readers' mean."""
        ratios, rewards, weights, readers = ([array[i] for i in kept] for array in (ratio, reward, weight, reader))
        rest, _ = loop_ratio_value(ratios, rewards, weights, readers, self_normalized)
        return rest + loop_mean(readers, weights)

    variance = loop_jackknife_variance(value_of, study.n, options.get("cluster"))
    if plug_in:
        mean, of_draws = loop_draws(study.g_policy)
        value, variance = value + mean, variance + of_draws
    return value, math.sqrt(variance), influence


@pytest.mark.parametrize("name", ["ipw", "snipw", "mips", "clipped_ipw", "dr", "sndr", "mdr", "switch_dr", "dr_os"])
def test_closed_form(study, options, name):
    rho = [math.exp(v) for v in study.log_ratio]
    residual = study.xi - study.g
    doubly = (study.log_ratio, study.xi, study.g, study.g_policy)
    estimate, ratio, reward, normalized, plug_in = {
        "ipw": lambda: (ipw(study.log_ratio, study.xi, **options), rho, study.xi, False, False),
        "snipw": lambda: (snipw(study.log_ratio, study.xi, **options), rho, study.xi, True, False),
        "mips": lambda: (mips(study.log_ratio, study.xi, **options), rho, study.xi, True, False),
        "clipped_ipw": lambda: (
            clipped_ipw(study.log_ratio, study.xi, clip=1.3, **options),
            [min(r, 1.3) for r in rho],
            study.xi,
            False,
            False,
        ),
        "dr": lambda: (dr(*doubly, **options), rho, residual, False, True),
        "sndr": lambda: (sndr(*doubly, **options), rho, residual, True, True),
        "mdr": lambda: (mdr(*doubly, **options), rho, residual, True, True),
        "switch_dr": lambda: (
            switch_dr(*doubly, tau=1.3, **options),
            [r if r <= 1.3 else 0.0 for r in rho],
            residual,
            False,
            True,
        ),
        "dr_os": lambda: (
            dr_os(*doubly, lam=0.7, **options),
            [0.7 * r / (r * r + 0.7) for r in rho],
            residual,
            False,
            True,
        ),
    }[name]()
    value, se, influence = expected(study, options, ratio, reward, normalized, plug_in)
    np.testing.assert_allclose(estimate.value, value, **EXACT)
    np.testing.assert_allclose(estimate.se, se, **EXACT)
    np.testing.assert_allclose(estimate.influence, influence, **EXACT)
    assert estimate.estimator == name


def test_dm_closed_form(study):
    mean, variance = loop_draws(study.g_policy)
    alone = dm(study.g_policy)
    np.testing.assert_allclose([alone.value, alone.se], [mean, math.sqrt(variance)], **EXACT)
    with_readers = dm(study.g_policy, reader_response=study.reader, weight=study.weight, cluster=study.texts)

    def value_of(kept):
        return loop_mean(study.reader[kept], study.weight[kept])

    expected_se = math.sqrt(variance + loop_jackknife_variance(value_of, study.n, study.texts))
    np.testing.assert_allclose([with_readers.value, with_readers.se], [mean, expected_se], **EXACT)


def test_draws_in_the_context_of_each_row_are_a_row_term(study):
    rng = np.random.default_rng(1)
    per_row = rng.normal(size=(study.n, 3))
    estimate = dr(study.log_ratio, study.xi, study.g, per_row, weight=study.weight, cluster=study.texts)
    rho = np.exp(study.log_ratio)
    reward = rho * (study.xi - study.g) + per_row.mean(axis=1)  # one mean of one term a row

    def value_of(kept):
        return loop_mean(reward[kept], study.weight[kept])

    se = math.sqrt(loop_jackknife_variance(value_of, study.n, study.texts))
    np.testing.assert_allclose([estimate.value, estimate.se], [loop_mean(reward, study.weight), se], **EXACT)
    assert not estimate.draws
    row_only = dm(per_row, weight=study.weight)
    np.testing.assert_allclose(row_only.value, loop_mean(per_row.mean(axis=1), study.weight), **EXACT)


def test_draws_in_the_contexts_of_some_rows(study):
    """All rows: as [n, k]. Some rows: the weighted mean of their draws, each row's part of the error its own."""
    rng = np.random.default_rng(1)
    per_row = rng.normal(size=(study.n, 3))
    rest = {"weight": study.weight, "cluster": study.texts}
    everywhere = ContextDraws(per_row.ravel(), np.repeat(np.arange(study.n), 3), study.n)
    for estimator in (dr, sndr):
        asked = estimator(study.log_ratio, study.xi, study.g, per_row, **rest)
        found = estimator(study.log_ratio, study.xi, study.g, everywhere, **rest)
        np.testing.assert_allclose([found.value, found.se], [asked.value, asked.se], **EXACT)
    row = np.sort(rng.choice(study.n, study.n // 3, replace=False))
    some = dm(ContextDraws(per_row[row, 0], row, study.n), weight=study.weight, cluster=study.texts)

    def value_of(kept):
        left = row[np.isin(row, kept)]
        return loop_mean(per_row[left, 0], study.weight[left])

    variance = loop_jackknife_variance(value_of, study.n, study.texts)
    np.testing.assert_allclose([some.value, some.se], [value_of(np.arange(study.n)), math.sqrt(variance)], **EXACT)
    with pytest.raises(DataError, match="1 draws"):
        dm(ContextDraws(np.ones(1), np.zeros(1, int), study.n))


def test_a_mean_known_exactly_adds_no_error(study):
    exact, drawn = (dr(study.log_ratio, study.xi, study.g, g) for g in (float(study.g_policy.mean()), study.g_policy))
    assert exact.value == drawn.value
    np.testing.assert_allclose(drawn.se**2 - exact.se**2, loop_draws(study.g_policy)[1], **EXACT)
    assert dm(1.5).se == 0.0


def test_dr_os_and_switch_dr_end_at_dm_and_dr(study):
    arguments = (study.log_ratio, study.xi, study.g, study.g_policy)
    options = {"reader_response": study.reader, "weight": study.weight, "cluster": study.texts}
    top = dr(*arguments, **options)
    bottom = dm(study.g_policy, **options)
    for end in (dr_os(*arguments, lam=np.inf, **options), switch_dr(*arguments, tau=np.inf, **options)):
        assert (end.value, end.se) == (top.value, top.se)
        assert (end - top).se == 0
    for end in (dr_os(*arguments, lam=0.0, **options), switch_dr(*arguments, tau=0.0, **options)):
        assert (end.value, end.se) == (bottom.value, bottom.se)
        assert (end - bottom).se == 0


def test_no_weighting_is_the_plain_mean(study):
    for estimator in (ipw, snipw):
        estimate = estimator(np.zeros(study.n), study.xi)
        np.testing.assert_allclose(estimate.value, study.xi.mean(), **EXACT)
        np.testing.assert_allclose(estimate.se, study.xi.std(ddof=1) / math.sqrt(study.n), **EXACT)


ESTIMATES = {
    "ipw": lambda s, **k: ipw(s.log_ratio, s.xi, **k),
    "snipw": lambda s, **k: snipw(s.log_ratio, s.xi, **k),
    "clipped_ipw": lambda s, **k: clipped_ipw(s.log_ratio, s.xi, **k),
    "dr": lambda s, **k: dr(s.log_ratio, s.xi, s.g, s.g_policy, **k),
    "sndr": lambda s, **k: sndr(s.log_ratio, s.xi, s.g, s.g_policy, **k),
    "switch_dr": lambda s, **k: switch_dr(s.log_ratio, s.xi, s.g, s.g_policy, **k),
    "dr_os": lambda s, **k: dr_os(s.log_ratio, s.xi, s.g, s.g_policy, **k),
    "mips": lambda s, **k: mips(s.log_ratio, s.xi, **k),
    "mdr": lambda s, **k: mdr(s.log_ratio, s.xi, s.g, s.g_policy, **k),
    "balance": lambda s, **k: balance(np.exp(s.log_ratio), s.xi - s.g, s.g_policy, **k),
    "dm": lambda s, **k: dm(s.g_policy, **k),
}


def test_no_registered_estimator_is_left_out():
    assert set(ESTIMATES) == set(ESTIMATORS)


def keywords(study):
    return {
        "reader_response": study.reader,
        "weight": study.weight,
        "cluster": (study.texts, study.readers),
    }


@pytest.mark.parametrize("name", ESTIMATES)
def test_the_order_of_rows_changes_nothing(study, name):
    before = ESTIMATES[name](study, **keywords(study))
    order = np.random.default_rng(0).permutation(study.n)
    for key, value in vars(study).items():
        if isinstance(value, np.ndarray) and len(value) == study.n:
            setattr(study, key, value[order])
    study.g_policy = study.g_policy[::-1].copy()
    after = ESTIMATES[name](study, **keywords(study))
    np.testing.assert_allclose([after.value, after.se], [before.value, before.se], **EXACT)


@pytest.mark.parametrize("name", ESTIMATES)
def test_the_unit_of_weight_changes_nothing(study, name):
    before = ESTIMATES[name](study, **keywords(study))
    study.weight = study.weight * 1e300
    after = ESTIMATES[name](study, **keywords(study))
    np.testing.assert_allclose([after.value, after.se], [before.value, before.se], **EXACT)


@pytest.mark.parametrize("name", ["snipw", "sndr", "mips", "mdr"])
@pytest.mark.parametrize("shift", [-690.0, 690.0, 1e5])
def test_a_shift_of_the_log_ratio_leaves_self_normalised_values(study, name, shift):
    before = ESTIMATES[name](study, **keywords(study))
    study.log_ratio = study.log_ratio + shift
    after = ESTIMATES[name](study, **keywords(study))
    # log-ratios of size 1e5 have a rounding error of 1e-11 each
    np.testing.assert_allclose([after.value, after.se], [before.value, before.se], rtol=1e-8)


@pytest.mark.parametrize("name", ["snipw", "dr", "sndr", "switch_dr", "dr_os", "mips", "mdr", "dm"])
def test_a_shift_of_the_outcome_shifts_the_value(study, name):
    before = ESTIMATES[name](study, **keywords(study))
    study.xi, study.g, study.g_policy = study.xi + 5, study.g + 5, study.g_policy + 5
    after = ESTIMATES[name](study, **keywords(study))
    np.testing.assert_allclose([after.value, after.se], [before.value + 5, before.se], **EXACT)


def test_self_normalised_values_stay_within_the_outcomes(study):
    estimate = snipw(study.log_ratio * 2, study.xi)
    assert study.xi.min() <= estimate.value <= study.xi.max()


@pytest.mark.parametrize("scale", [700.0, -700.0])
def test_no_overflow_at_700_nats(study, scale):
    log_ratio = np.where(np.arange(study.n) < 100, scale, scale - 1400 * np.sign(scale)) + study.log_ratio_other
    large = np.arange(study.n) < 100 if scale > 0 else np.arange(study.n) >= 100
    for estimate, reward in [
        (snipw(log_ratio, study.xi), study.xi),
        (sndr(log_ratio, study.xi, study.g, 0.0), study.xi - study.g),
    ]:
        rest = snipw(study.log_ratio_other[large], reward[large])
        np.testing.assert_allclose(estimate.value, rest.value, rtol=1e-10)
        assert np.isfinite(estimate.se)
        assert estimate.se > 0
    for estimate in (
        ipw(log_ratio, study.xi),
        dr(log_ratio, study.xi, study.g, study.g_policy),
        clipped_ipw(log_ratio, study.xi),
        switch_dr(log_ratio, study.xi, study.g, study.g_policy, tau=10.0),
        dr_os(log_ratio, study.xi, study.g, study.g_policy, lam=1.0),
    ):
        assert np.isfinite([estimate.value, estimate.se, *estimate.confint()]).all()


def test_a_text_the_policy_never_writes_counts_zero(study):
    log_ratio = study.log_ratio.copy()
    log_ratio[::3] = -np.inf
    keep = np.isfinite(log_ratio)
    np.testing.assert_allclose(snipw(log_ratio, study.xi).value, snipw(log_ratio[keep], study.xi[keep]).value, **EXACT)
    np.testing.assert_allclose(
        ipw(log_ratio, study.xi).value, ipw(log_ratio[keep], study.xi[keep]).value * keep.mean(), **EXACT
    )


def test_a_row_of_no_exposure_counts_nothing(study):
    weight, log_ratio = study.weight.copy(), study.log_ratio.copy()
    weight[:40] = 0.0
    log_ratio[:40] = 800.0  # would overflow if it counted
    for estimator in (ipw, snipw):
        estimate = estimator(log_ratio, study.xi, weight=weight)
        rest = estimator(log_ratio[40:], study.xi[40:], weight=weight[40:])
        np.testing.assert_allclose(estimate.value, rest.value, **EXACT)


def test_clipping_reports_what_it_cut(study):
    rho = np.exp(study.log_ratio)
    estimate = clipped_ipw(study.log_ratio, study.xi, clip=1.5, weight=study.weight)
    cut = (study.weight * np.maximum(rho - 1.5, 0)).sum() / (study.weight * rho).sum()
    np.testing.assert_allclose(estimate.details["clipped_mass"], cut, **EXACT)
    assert estimate.details["clipped_rows"] == (rho > 1.5).sum()
    assert "clipped_mass" in estimate.summary()
    default = clipped_ipw(study.log_ratio, study.xi)
    np.testing.assert_allclose(default.details["clip"], np.sqrt(study.n) * rho.mean(), **EXACT)


def test_switching_and_shrinking_report_what_they_took(study):
    rho = np.exp(study.log_ratio)
    switched = switch_dr(study.log_ratio, study.xi, study.g, study.g_policy, tau=1.5)
    np.testing.assert_allclose(switched.details["switched_mass"], rho[rho > 1.5].sum() / rho.sum(), **EXACT)
    assert switched.details["switched_rows"] == (rho > 1.5).sum()
    shrunk = dr_os(study.log_ratio, study.xi, study.g, study.g_policy, lam=2.0)
    np.testing.assert_allclose(shrunk.details["shrunk_mass"], 1 - (2 * rho / (rho**2 + 2)).sum() / rho.sum(), **EXACT)
