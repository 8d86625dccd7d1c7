"""Checks of backends and of the policies that they fit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import Backend, EnumerablePolicy, Policy, PolicyProblem, Progress
from causalopt.backends.saved import backend_of, load_policy
from causalopt.errors import CausalOptError
from causalopt.objectives.contract import Objective
from causalopt.objectives.paper import CPO

TEXTS = [
    f"{verb} {noun} {when}."
    for verb in ("Help", "Give")
    for noun in ("us", "them")
    for when in ("now", "soon", "today")
]
BETTER = np.array(["now" in text for text in TEXTS])
"""Texts whose pseudo-outcome is larger, by two standard deviations of the outcome."""
REPEATS = 10
"""Number of times that each text is logged."""


def check_backend(make: Callable[[], Backend], objective: Objective | None = None) -> None:
    """Check a backend against its contract (`causalopt.backends.contracts.Backend`).

    The check covers a reference with log-probabilities and texts; equal draws for equal seeds; a fit that starts at the
    reference, leaves it unchanged, and makes better texts more probable; and a policy that can be saved, names a
    registered backend and is loaded with the same numbers.

    Parameters
    ----------
    make:
        Called without arguments, it returns a backend.
    objective:
        The objective to maximise; `CPO` by default.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.backends.finite import FiniteBackend
    >>> from causalopt.testing import check_backend
    >>> from causalopt.testing.backends import TEXTS
    >>> check_backend(lambda: FiniteBackend(TEXTS))
    """
    backend, maximand = make(), objective or CPO()
    name = type(backend).__name__
    assert isinstance(backend, Backend), f"{name} lacks one of population, check, reference, fit and load_policy"
    backend.check([maximand], 1)
    texts = TEXTS * REPEATS
    reference = backend.reference(None, texts, np.ones(len(texts)), seed=0, progress=Progress())
    before = _check_policy(name, reference)
    policy = backend.fit(_problem(reference), maximand, reference=reference, seed=0, progress=Progress())
    after = _check_policy(name, policy)
    assert np.array_equal(before, reference.log_prob(None, TEXTS)), f"{name}.fit changes the reference"
    gain = float((after - before)[BETTER].mean() - (after - before)[~BETTER].mean())
    assert gain > 0, f"{name}.fit makes better texts less probable, by {-gain:.3g} nats relative to the others"
    again = backend.fit(_problem(reference), maximand, reference=reference, seed=0, progress=Progress())
    assert np.allclose(after, again.log_prob(None, TEXTS), atol=1e-5), f"{name}: two fits with one seed differ"
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder) / "policy")
        registered = backend_of(Path(folder) / "policy")
        assert registered in plugins.backends.names(), (
            f"{name}: a saved policy names the backend {registered!r}, which is not registered; end save with "
            "causalopt.backends.saved.name_backend"
        )
        try:
            loaded = load_policy(Path(folder) / "policy")
        except CausalOptError as error:
            raise AssertionError(f"{name}: a saved policy cannot be loaded: {error}") from error
        same = np.allclose(after, loaded.log_prob(None, TEXTS), atol=1e-4)
        assert same, f"{name}: a policy that was saved and loaded gives other log-probabilities"


def _check_policy(name: str, policy: Policy) -> np.ndarray:
    assert isinstance(policy, Policy), f"{name}: a {type(policy).__name__} lacks one of log_prob, sample, save and load"
    log_prob = np.asarray(policy.log_prob(None, TEXTS))
    assert log_prob.shape == (len(TEXTS),), f"{name}: log_prob has shape {log_prob.shape}, not {(len(TEXTS),)}"
    assert np.isfinite(log_prob).all(), f"{name}: log-probabilities of logged texts are not finite"
    assert (log_prob <= 1e-6).all(), f"{name}: a log-probability is above zero"
    total = float(np.exp(log_prob).sum())
    assert total <= 1 + 1e-4, f"{name}: the probabilities of {len(TEXTS)} different texts sum to {total:.4g}"
    if isinstance(policy, EnumerablePolicy):
        assert abs(total - 1) < 1e-6, f"{name}: the probabilities of all candidates sum to {total:.4g}"
    drawn = policy.sample(None, 5, seed=1)
    assert len(drawn) == 5, f"{name}: sample returns {len(drawn)} texts for n = 5"
    assert all(isinstance(text, str) for text in drawn), f"{name}: sample returns values that are not text"
    assert drawn == policy.sample(None, 5, seed=1), f"{name}: two draws with one seed differ"
    return log_prob


def _problem(reference: Policy) -> PolicyProblem:
    texts = TEXTS * REPEATS
    xi = np.where(np.tile(BETTER, REPEATS), 1.0, -1.0)
    sampled = [[text] for text in reference.sample(None, len(texts), seed=2)]
    g = np.array([[1.0 if "now" in row[0] else -1.0] for row in sampled])
    return PolicyProblem(
        texts=texts,
        prompts=None,
        behavior_log_prob=np.asarray(reference.log_prob(None, texts)),
        residual=np.zeros(len(texts)),
        g=xi,
        weight=np.ones(len(texts)),
        sampled_texts=sampled,
        sampled_g=g,
    )
