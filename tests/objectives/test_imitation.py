"""Imitation baselines against plain loops, and their gradient against a weighted likelihood."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from causalopt import plugins
from causalopt.errors import ConfigError
from causalopt.objectives.contract import Objective, ObjectiveInputs, coefficients
from causalopt.objectives.imitation import RWR, SFT, WLL, SFTTop

N = 8


@pytest.fixture
def inputs() -> ObjectiveInputs:
    rng = np.random.default_rng(1)
    columns = [torch.tensor(rng.normal(size=N)) for _ in range(3)]
    none = torch.zeros(0, dtype=torch.float64)
    weight = torch.tensor(rng.uniform(0.5, 2.0, N))
    return ObjectiveInputs(*columns, weight, torch.ones(N), none, none, none, none, none)


def merit(objective: Objective, xi: list[float]) -> list[float]:
    match objective:
        case SFT():
            return [1.0] * N
        case SFTTop(fraction=fraction):
            limit = sorted(xi)[math.floor((1 - fraction) * (N - 1))]
            return [float(value >= limit) for value in xi]
        case RWR(temperature=temperature):
            return [math.exp(value / temperature) for value in xi]
    raise AssertionError(objective)


@pytest.mark.parametrize("objective", [SFT(), SFTTop(fraction=0.3), SFTTop(fraction=1.0), RWR(temperature=0.5)])
def test_coefficients_are_the_normalised_weights(inputs: ObjectiveInputs, objective: Objective) -> None:
    xi = (inputs.residual + inputs.g).tolist()
    share = [w * value for w, value in zip(inputs.weight.tolist(), merit(objective, xi), strict=True)]
    expected = [-part / sum(share) for part in share]
    loss, data, sampled = coefficients(objective, inputs)
    np.testing.assert_allclose(data.numpy(), expected, atol=1e-12)
    assert len(sampled) == 0
    log_ratio = inputs.log_ratio.tolist()
    assert float(loss) == pytest.approx(sum(c * r for c, r in zip(expected, log_ratio, strict=True)), abs=1e-12)


def test_the_weighted_log_likelihood_is_its_formula(inputs: ObjectiveInputs) -> None:
    """Minus the exposure-weighted mean of xi log rho, bad texts pushed away; on the samples the penalties."""
    weight, xi = inputs.weight.tolist(), (inputs.residual + inputs.g).tolist()
    assert min(xi) < 0 < max(xi)
    loss, data, _ = coefficients(WLL(kl=0.0, forward_kl=0.0), inputs)
    expected = [-w * a / sum(weight) for w, a in zip(weight, xi, strict=True)]
    np.testing.assert_allclose(data.numpy(), expected, atol=1e-12)
    log_ratio = inputs.log_ratio.tolist()
    assert float(loss) == pytest.approx(sum(c * r for c, r in zip(expected, log_ratio, strict=True)), abs=1e-12)
    one = torch.ones(1)
    drawn = replace(
        inputs, sampled_log_ratio=math.log(2) * one, sampled_g=one, sampled_weight=one, sampled_length=one,
        sampled_reference_log_prob=-one,
    )  # fmt: skip
    penalty = 0.5 * (1 - math.log(2)) + 0.25 * (2 * math.log(2) - 1)  # rho = 2
    assert float(WLL(kl=0.25, forward_kl=0.5)(drawn)) == pytest.approx(float(loss) + penalty)


def test_the_optimum_of_the_weighted_log_likelihood_is_the_tilted_law() -> None:
    """Over all laws, E_q[xi log f] + lambda E_q[log f] is largest at f = q (1 + xi / lambda), by its own derivative."""
    q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    xi = torch.tensor([1.0, 0.5, -0.7], dtype=torch.float64)  # mean 0 under q
    f = q * (1 + xi / 2.0)
    none = torch.zeros(3, dtype=torch.float64)
    ratio = (f / q).log()
    inputs = ObjectiveInputs(ratio, xi, none, q, none + 1, ratio, none, q, none + 1, q.log())
    _, data, sampled = coefficients(WLL(kl=0.0, forward_kl=2.0), inputs)
    # The derivative by the logits of f, sum_i c_i (1[i = k] - f_k), is zero at the optimum.
    both = data + sampled
    np.testing.assert_allclose((both - f * both.sum()).numpy(), 0, atol=1e-12)


def test_limits(inputs: ObjectiveInputs) -> None:
    best = int(torch.argmax(inputs.residual + inputs.g))
    cold = coefficients(RWR(temperature=1e-3), inputs)[1]
    assert float(cold[best]) == pytest.approx(-1.0)
    torch.testing.assert_close(coefficients(RWR(temperature=1e9), inputs)[1], coefficients(SFT(), inputs)[1])
    torch.testing.assert_close(coefficients(SFTTop(fraction=1.0), inputs)[1], coefficients(SFT(), inputs)[1])


def test_they_are_registered_and_checked() -> None:
    assert plugins.objectives.create({"name": "sft_top", "fraction": 0.1}) == SFTTop(fraction=0.1)
    assert isinstance(plugins.objectives.create("sft"), SFT)
    assert isinstance(plugins.objectives.create("rwr"), Objective)
    with pytest.raises(ConfigError, match="fraction"):
        SFTTop(fraction=0.0)
    with pytest.raises(ConfigError, match="temperature"):
        RWR(temperature=-1.0)
