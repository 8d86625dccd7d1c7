"""The value of all texts of a policy, in a world that knows the effect of any text: exact except for the other texts.

    V(f) = P_f(world's texts) V(f | world's texts) + P_f(other texts) E_f[g(x) | other texts]

The first term and both probabilities are finite sums. The mean over other texts is estimated from those among the texts
drawn from the policy, and is the only part with a Monte Carlo error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.errors import ConfigError
from causalopt.simulation.contracts import AnyTextWorld, SampledValue


def value_of_all_texts(world: AnyTextWorld, policy: Policy, drawn: Sequence[str]) -> SampledValue:
    """Return the true value of all texts of ``policy``, the world's and others.

    Parameters
    ----------
    world:
        A world that knows the effect of any text.
    policy:
        It must give log-probabilities of the world's texts.
    drawn:
        Independent texts from the policy, the world's and others.

    Returns
    -------
    SampledValue
        If no other text was drawn, the value of the world's texts is used for the others; if fewer than two were, the
        spread of the world's texts is used for theirs in the standard error.

    Raises
    ------
    ConfigError
        If there are no draws.

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
    rest = max(1 - exact.mass, 0.0)  # with rounding, the sum may exceed one
    mean = g.mean() if len(g) else exact.value
    spread = (g if len(g) > 1 else world.true_dose_response(world.texts)).std(ddof=1)
    return SampledValue(
        value=float(exact.mass * exact.value + rest * mean), se=float(rest * spread / np.sqrt(max(len(g), 1)))
    )
