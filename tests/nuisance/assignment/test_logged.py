import numpy as np
import pytest

from causalopt.errors import ConfigError, DataError
from causalopt.nuisance.assignment.logged import LoggedAssignment


def test_the_ratio_of_what_was_logged():
    weights = LoggedAssignment().weights([-1.0, -700.0, -2.0], [-2.0, -699.0, -2.0])
    np.testing.assert_allclose(weights, np.exp([-1.0, 1.0, 0.0]))
    assert np.isfinite(LoggedAssignment().weights([-1e6, -1.0], [-1.0, -1e6])).all()


def test_the_marginal_from_the_rows_of_a_text():
    """E[1/p(x|w) | x] = 1/p(x): two texts, readers of two kinds; p(x|w) known, p(x) = 0.5 to be found."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 20_000)
    text = (rng.random(20_000) < np.where(kind == 1, 0.8, 0.2)).astype(int)
    given = np.where(text == kind, 0.8, 0.2)
    weights = LoggedAssignment().weights(np.log(given), text=np.array(["a", "b"])[text])
    np.testing.assert_allclose(weights, 0.5 / given, rtol=0.05)
    moved = LoggedAssignment().weights(np.log(given) - 500, text=text)
    np.testing.assert_allclose(moved, weights)
    double = LoggedAssignment().weights(np.log(given), text=text, weight=np.where(kind == 1, 3.0, 1.0))
    np.testing.assert_allclose(
        double, (0.75 * np.where(text == 1, 0.8, 0.2) + 0.25 * np.where(text == 1, 0.2, 0.8)) / given, rtol=0.05
    )


def test_too_few_rows_for_a_marginal():
    with pytest.raises(DataError, match=r"name a column behavior_log_prob \(8 rows of 4 texts are too few"):
        LoggedAssignment().weights(-np.ones(8), text=np.arange(8) // 2)
    with pytest.raises(DataError, match="behavior_log_prob has 2 rows"):
        LoggedAssignment().weights([-1.0, -1.0, -1.0], [-1.0, -1.0])
    with pytest.raises(DataError, match=r"assignment_log_prob\[1\] is"):
        LoggedAssignment().weights([-1.0, -np.inf], [-1.0, -1.0])


def test_arrays_hold_no_log():
    with pytest.raises(ConfigError, match="pass them as s="):
        LoggedAssignment().fit(np.ones((2, 1)), np.ones((2, 1)), np.ones(2))
    with pytest.raises(ConfigError, match="pass them as s="):
        LoggedAssignment().stabilized_weight(np.ones((2, 1)), np.ones((2, 1)))
