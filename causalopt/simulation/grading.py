"""The true values that a run in a world reports with its estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.evaluation.policies import Draws
from causalopt.simulation.all_texts import value_of_all_texts
from causalopt.simulation.contracts import AnyTextWorld, OpenWorld, SampledValue, SimulatedWorld, TrueValue, World
from causalopt.typing import Float64


def truth_metrics(
    world: SimulatedWorld, policy: Policy, reference: Policy, draws: Mapping[str, Draws]
) -> dict[str, float]:
    """Return true values of policy and reference, and the policy's share of the gain achievable at its own KL.

    In a world whose texts cannot be listed (`causalopt.simulation.OpenWorld`) the values are means over texts that the
    world draws from the policies, ``se`` is the Monte Carlo error of the difference, and there is nothing else.

    If the world knows the effect of any text (`causalopt.simulation.AnyTextWorld`), then ``reference``, ``policy`` and
    ``difference`` are the values of all texts that the policies write, as the estimates are: texts outside the world
    are taken from the evaluation's ``draws``, and ``se`` is the Monte Carlo error of the difference. In any other world
    they are conditional on the world's texts, and exact. ``best`` and ``gain_share`` are conditional on the world's
    texts in every world, as are ``reference_given_texts`` and ``policy_given_texts``.
    """
    if isinstance(world, OpenWorld):
        return _differences(world.sampled_value(reference), world.sampled_value(policy))
    assert isinstance(world, World)
    start, end = world.true_value(reference), world.true_value(policy)
    kl = world.kl(policy, reference)
    best = world.best_value(reference, kl)
    all_start = _of_all_texts(world, reference, start, draws["reference"])
    all_end = _of_all_texts(world, policy, end, draws["policy"])
    return {
        **_differences(all_start, all_end),
        "reference_given_texts": start.value,
        "policy_given_texts": end.value,
        "best": best,
        "gain_share": (end.value - start.value) / (best - start.value) if best > start.value else 0.0,
        "kl": kl,
        "mass_reference": start.mass,
        "mass_policy": end.mass,
    }


def _differences(reference: SampledValue, policy: SampledValue) -> dict[str, float]:
    return {
        "reference": reference.value,
        "policy": policy.value,
        "difference": policy.value - reference.value,
        "se": float(np.hypot(reference.se, policy.se)),
    }


def _of_all_texts(world: World, policy: Policy, given_texts: TrueValue, draws: Draws) -> SampledValue:
    if isinstance(world, AnyTextWorld):
        return value_of_all_texts(world, policy, draws.texts)
    return SampledValue(given_texts.value, 0.0)


def true_responses(world: SimulatedWorld, texts: Sequence[str], prompts: Sequence[str] | None) -> Float64:
    """Return g of texts that a policy wrote, shape [k], outcome units; nan if the world does not know the text."""
    if isinstance(world, OpenWorld):
        return world.true_dose_response(texts, prompts)
    assert isinstance(world, World)
    if isinstance(world, AnyTextWorld):
        return world.true_dose_response_of_any(texts)
    known = set(world.texts)
    inside = [i for i, text in enumerate(texts) if text in known]
    found = np.full(len(texts), np.nan)
    found[inside] = world.true_dose_response(
        [texts[i] for i in inside], None if prompts is None else [prompts[i] for i in inside]
    )
    return found
