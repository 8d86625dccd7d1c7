from types import SimpleNamespace

import numpy as np
import pytest
from answering import answering, command

__all__ = ["answering", "command"]


@pytest.fixture
def study():
    """Random arrays of the kind estimators take; nothing about them is right or wrong."""
    rng = np.random.default_rng(7)
    n, m = 240, 60
    return SimpleNamespace(
        n=n,
        m=m,
        log_ratio=rng.normal(-0.2, 0.8, n),
        log_ratio_other=rng.normal(0.0, 0.3, n),
        xi=rng.normal(2.0, 1.5, n),
        g=rng.normal(2.0, 0.5, n),
        g_policy=rng.normal(2.3, 0.5, m),
        g_policy_other=rng.normal(2.1, 0.5, m + 20),
        reader=rng.normal(0.0, 0.7, n),
        weight=rng.uniform(0.2, 3.0, n),
        texts=rng.integers(0, 40, n),
        readers=rng.integers(0, 25, n),
    )


@pytest.fixture
def within_binomial():
    """Check a coverage: a share of hits whose true rate lies in ``band`` fails this check with probability < 1e-6."""
    from scipy import stats

    def check(hits: np.ndarray, band: tuple[float, float]) -> float:
        count, total = int(np.sum(hits)), len(hits)
        low, high = stats.binom.ppf(5e-7, total, band[0]), stats.binom.ppf(1 - 5e-7, total, band[1])
        assert low <= count <= high, f"{count} of {total} covered; between {low:.0f} and {high:.0f} are compatible"
        return count / total

    return check
