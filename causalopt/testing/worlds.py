"""Checks of worlds, whose true values every benchmark relies on."""

from __future__ import annotations

import json

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.simulation.contracts import OpenWorld, SimulatedWorld, World


def check_world(world: World, rows: int = 2000) -> None:
    """Check a world without prompts against its contract (`causalopt.simulation.contracts.World`).

    The check covers samples that depend on the seed alone, the true value of uniform texts as the mean of their true
    dose response, KL and best value, and stabilized weights with a mean of one, under which the logged mean is the
    value of the logged texts.

    Parameters
    ----------
    world:
        With known texts.
    rows:
        Size of the sample on which means are compared, within five standard errors.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.simulation import FiniteWorld
    >>> from causalopt.testing import check_world
    >>> check_world(FiniteWorld(confounding=0.3, seed=0))
    """
    name = type(world).__name__
    assert isinstance(world, World), f"{name} lacks one of the members of World"
    assert world.prompts is None, f"{name} has prompts: this check is for worlds without"
    data = _checked_sample(world, rows)
    assert set(data.texts) <= set(world.texts), f"{name}: a sample holds a text that is not among the world's"
    k = len(world.texts)
    uniform = FinitePolicy(world.texts, np.full(k, -np.log(k)), np.zeros((k, 1)), np.zeros(1))
    g = world.true_dose_response(world.texts)
    value = world.true_value(uniform)
    assert abs(value.value - g.mean()) < 1e-6 * (1 + abs(g).max()), (
        f"{name}: the value of uniform texts is {value.value:.6g}, and the mean of their dose response {g.mean():.6g}"
    )
    assert abs(value.mass - 1) < 1e-6, f"{name}: uniform texts have mass {value.mass:.4g} on the world's texts"
    assert abs(world.kl(uniform, uniform)) < 1e-8, f"{name}: the KL of a policy to itself is not zero"
    near, far = world.best_value(uniform, 0.1), world.best_value(uniform, 0.5)
    assert value.value <= near <= far + 1e-9, f"{name}: best_value does not grow with the KL that is allowed"
    assert far <= g.max() + 1e-9, f"{name}: best_value is above the best text's dose response"
    _check_weights(world, data)


def check_open_world(world: OpenWorld, policy: Policy, rows: int = 2000) -> None:
    """Check a world whose texts cannot be listed against its contract (`causalopt.simulation.contracts.OpenWorld`).

    The check covers samples that depend on the seed alone, stabilized weights with a mean of one, under which the
    logged mean is the value of the logged texts, and the true value of a policy as the mean of the dose response of
    texts drawn from it for the logged prompts.

    Parameters
    ----------
    world:
        With or without prompts.
    policy:
        Any policy that answers the world's prompts.
    rows:
        Size of the samples on which means are compared, within five standard errors.

    Raises
    ------
    AssertionError
        With the first fault found.
    """
    name = type(world).__name__
    assert isinstance(world, OpenWorld), f"{name} lacks one of the members of OpenWorld"
    data = _checked_sample(world, rows)
    _check_weights(world, data)
    value = world.sampled_value(policy)
    assert value.se > 0, f"{name}: the Monte Carlo error of a sampled value is {value.se:.4g}"
    g = world.true_dose_response(policy.sample(data.prompts, rows, 2), data.prompts)
    error = np.hypot(g.std(ddof=1) / np.sqrt(rows), value.se)
    assert abs(g.mean() - value.value) <= 5 * error, (
        f"{name}: the value of a policy is {value.value:.4g}, and the mean dose response of its texts {g.mean():.4g} "
        f"(+- {error:.2g})"
    )


def _checked_sample(world: SimulatedWorld, rows: int) -> DirectOutcomeDataset:
    name = type(world).__name__
    json.dumps(dict(world.describe()))
    data, again, other = world.sample(rows, 0), world.sample(rows, 0), world.sample(rows, 1)
    assert data.fingerprint() == again.fingerprint(), f"{name}: two samples with one seed differ"
    assert data.fingerprint() != other.fingerprint(), f"{name}: samples with different seeds are the same"
    return data


def _check_weights(world: SimulatedWorld, data: DirectOutcomeDataset) -> None:
    name = type(world).__name__
    s = world.true_stabilized_weight(data.texts, data.covariates, data.prompts)
    _near(name, "the mean of the true stabilized weights", s, 1.0)
    if data.observed is None:  # else the mean of those who respond is not that of all readers
        off = s * (data.outcome - world.true_dose_response(data.texts, data.prompts))
        _near(name, "the mean of s (y - g), true weights", off, 0.0)


def _near(name: str, what: str, values: np.ndarray, expected: float) -> None:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    mean = float(np.mean(values))
    assert abs(mean - expected) <= 5 * error + 1e-9, f"{name}: {what} is {mean:.4g} (+- {error:.2g}), not {expected:g}"
