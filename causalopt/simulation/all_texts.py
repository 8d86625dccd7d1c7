"""The value of all that a policy writes, where a world knows what any text does: exact but for the other texts' share.

    V(f) = P_f(world's texts) V(f | world's texts) + P_f(other texts) E_f[g(x) | other texts]

The first term and both probabilities are finite sums. The mean over other texts is that of those among texts drawn from
the policy, and the only part with a Monte Carlo error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.errors import ConfigError
from causalopt.simulation.contracts import AnyTextWorld


@dataclass(frozen=True)
class SampledValue:
    """A true value that needed draws, and the standard error of the draws, outcome units."""

    value: float
    se: float


def value_of_all_texts(world: AnyTextWorld, policy: Policy, drawn: Sequence[str]) -> SampledValue:
    """Return the true value of all that ``policy`` writes, the world's texts and others.

    Parameters
    ----------
    world:
        One that knows what any text does.
    policy:
        It must give log-probabilities of the world's texts.
    drawn:
        Independent texts from the policy, the world's and others.

    Returns
    -------
    SampledValue
        Where no other text was drawn, the value of the world's texts stands in for that of the others; where fewer
        than two were, the spread of the world's texts stands in for theirs in the standard error.

    Raises
    ------
    ConfigError
        For no draws.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.backends.finite import FinitePolicy
    >>> from causalopt.simulation import TemplateWorld
    >>> from causalopt.simulation.all_texts import value_of_all_texts
    >>> world = TemplateWorld(seed=0)
    >>> texts = [*world.texts, "please give today"]
    >>> share = np.append(np.full(1800, 0.75 / 1800), 0.25)
    >>> policy = FinitePolicy(texts, np.log(share), np.zeros((1801, 1)), np.zeros(1))
    >>> found = value_of_all_texts(world, policy, policy.sample(None, 100, seed=0))
    >>> bool(np.isclose(found.value, share @ world.true_dose_response_of_any(texts)))
    True
    """
    if not len(drawn):
        raise ConfigError("the value of all texts needs at least one text that was drawn from the policy")
    exact = world.true_value(policy)
    known = set(world.texts)
    other = [text for text in drawn if text not in known]
    g = world.true_dose_response_of_any(other)
    rest = max(1 - exact.mass, 0.0)  # rounding may take the sum above one
    mean = g.mean() if len(g) else exact.value
    spread = (g if len(g) > 1 else world.true_dose_response(world.texts)).std(ddof=1)
    return SampledValue(
        value=float(exact.mass * exact.value + rest * mean), se=float(rest * spread / np.sqrt(max(len(g), 1)))
    )
