"""Bad input ends in a named error or a named warning with the number, never in nan."""

import numpy as np
import pytest

from causalopt.errors import ConfigError, DataError, OverlapError, OverlapWarning
from causalopt.evaluation import clipped_ipw, dm, dr, dr_os, ipw, overlap, sndr, snipw, switch_dr

N = 20
XI, G, DRAWS = np.linspace(0, 1, N), np.full(N, 0.5), np.linspace(0, 1, 30)
RATIO_ONLY = {"ipw": ipw, "snipw": snipw, "clipped_ipw": clipped_ipw}
DOUBLY = {"dr": dr, "sndr": sndr, "switch_dr": switch_dr, "dr_os": dr_os}


def call(name, log_ratio, xi=XI, g=G, **options):
    if name in RATIO_ONLY:
        return RATIO_ONLY[name](log_ratio, xi, **options)
    return DOUBLY[name](log_ratio, xi, g, DRAWS, **options)


ALL = [*RATIO_ONLY, *DOUBLY]


@pytest.mark.parametrize("name", ALL)
def test_no_overlap_at_all(name):
    with pytest.raises(OverlapError, match="probability zero to all 20 logged texts"):
        call(name, np.full(N, -np.inf))


@pytest.mark.parametrize("name", ALL)
def test_weights_all_but_one_zero(name):
    log_ratio = np.full(N, -np.inf)
    log_ratio[4] = 1.0
    if name in ("snipw", "sndr"):
        with pytest.raises(OverlapError, match=r"one of 20 logged texts carries the whole weight"):
            call(name, log_ratio)
    else:
        with pytest.warns(OverlapWarning, match=rf"{name}: 20 logged texts count as 1\.0"):
            estimate = call(name, log_ratio)
        assert np.isfinite([estimate.value, estimate.se, *estimate.confint(), *estimate.test()]).all()


@pytest.mark.parametrize("name", ALL)
def test_thin_overlap_warns_with_the_number(name):
    log_ratio = np.zeros(N)
    log_ratio[:2] = 6.0
    with pytest.warns(OverlapWarning, match=r"20 logged texts count as 2\.1"):
        estimate = call(name, log_ratio)
    assert np.isfinite([estimate.value, estimate.se]).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xi": np.append(XI[1:], np.nan)}, r"xi\[19\] is nan \(1 such\)"),
        ({"xi": XI[:5]}, "xi has 5 rows, where the other arrays have 20"),
        ({"xi": XI[:, None]}, "xi must have one dimension"),
        ({"xi": ["a"] * N}, "xi is not an array of numbers"),
        ({"log_ratio": np.append(np.zeros(19), np.nan)}, r"log_ratio\[19\] is nan"),
        ({"log_ratio": np.append(np.inf, np.zeros(19))}, r"log_ratio\[0\] is inf"),
        ({"log_ratio": np.zeros((N, 1))}, "log_ratio must have one dimension"),
        ({"log_ratio": np.zeros(1)}, "log_ratio has 1 rows"),
        ({"weight": np.zeros(N)}, "weight is zero in all 20 rows"),
        ({"weight": np.append(-1.0, np.ones(19))}, r"weight\[0\] is -1"),
        ({"weight": np.ones(3)}, "weight has 3 rows"),
        ({"weight": np.append(np.ones(19), np.inf)}, r"weight\[19\] is inf"),
        ({"reader_response": np.full(N, np.inf)}, r"reader_response\[0\] is inf \(20 such\)"),
        ({"cluster": np.zeros(N)}, "cluster has one value"),
    ],
)
def test_arrays_that_cannot_be_used(name, change, message):
    arguments = {"log_ratio": np.zeros(N), **change}
    with pytest.raises(DataError, match=message):
        call(name, **arguments)


@pytest.mark.parametrize("name", ["ipw", "dr"])
def test_a_ratio_no_float_holds_is_named(name):
    with pytest.raises(OverlapError, match=r"largest log-ratio is 800 nats"):
        call(name, np.append(np.zeros(19), 800.0))
    with pytest.raises(OverlapError, match=r"705 nats, and ratio times outcome"), pytest.warns(OverlapWarning):
        call(name, np.append(np.zeros(19), 705.0), xi=XI * 1e5)


def test_shrinkage_of_ratios_no_float_holds():
    log_ratio = np.append(np.zeros(19), 800.0)
    with pytest.warns(OverlapWarning):
        fixed = dr_os(log_ratio, XI, G, DRAWS, lam=1.0)
    assert np.isfinite([fixed.value, fixed.se]).all()
    with pytest.warns(OverlapWarning):
        fixed = switch_dr(log_ratio, XI, G, DRAWS, tau=10.0)
    assert np.isfinite([fixed.value, fixed.se]).all()
    with pytest.raises(OverlapError, match="800"):
        dr_os(log_ratio, XI, G, DRAWS)


def test_draws_that_cannot_be_used():
    for estimator in (lambda g: dm(g), lambda g: dr(np.zeros(N), XI, G, g)):
        with pytest.raises(DataError, match="g_policy holds 1 draws"):
            estimator([1.0])
        with pytest.raises(DataError, match=r"g_policy\[1\] is nan"):
            estimator([1.0, np.nan])
        with pytest.raises(DataError, match="two dimensions"):
            estimator(np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match="g_policy has 3 rows, where the other arrays have 20"):
        dr(np.zeros(N), XI, G, np.zeros((3, 5)))


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="tau must be zero or more"):
        switch_dr(np.zeros(N), XI, G, DRAWS, tau=-1.0)
    with pytest.raises(ConfigError, match="lam must be zero or more"):
        dr_os(np.zeros(N), XI, G, DRAWS, lam=float("nan"))
    with pytest.raises(ConfigError, match="clip must be a number above 0"):
        clipped_ipw(np.zeros(N), XI, clip=0.0)


def test_overlap_of_nothing():
    with pytest.raises(OverlapError):
        overlap(np.full(N, -np.inf))


@pytest.mark.parametrize("name", ALL)
def test_constant_outcomes_give_a_standard_error_of_zero_not_nan(name):
    estimate = call(name, np.linspace(-1, 1, N), xi=np.full(N, 0.5))
    assert np.isfinite([estimate.value, estimate.se, *estimate.confint()]).all()
