"""Objectives against closed forms written with plain loops, and coefficients against finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from causalopt.errors import ConfigError
from causalopt.objectives.contract import ObjectiveInputs, coefficients
from causalopt.objectives.paper import CPO, DRCPO, OORLHF

N, M = 7, 9
FREE = {"kl": 0.0, "forward_kl": 0.0}


@pytest.fixture
def inputs() -> ObjectiveInputs:
    rng = np.random.default_rng(0)

    def draw(n: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
        return torch.tensor(rng.normal(shift, scale, n))

    return ObjectiveInputs(
        log_ratio=draw(N, 0.7),
        residual=draw(N),
        g=draw(N),
        weight=torch.tensor(rng.uniform(0.5, 2.0, N)),
        length=torch.tensor(rng.integers(3, 9, N)),
        sampled_log_ratio=draw(M, 0.7),
        sampled_g=draw(M),
        sampled_weight=torch.tensor(rng.uniform(0.5, 2.0, M)),
        sampled_length=torch.tensor(rng.integers(3, 9, M)),
        sampled_reference_log_prob=draw(M, 1.0, -12.0),
    )


def weighted_mean(log_ratio, reward, weight, *, normalize):
    """The importance-weighted mean, one row at a time."""
    total = sum(w * math.exp(r) for r, w in zip(log_ratio, weight, strict=True)) if normalize else sum(weight)
    return sum(w * math.exp(r) * a for r, a, w in zip(log_ratio, reward, weight, strict=True)) / total


def columns(inputs: ObjectiveInputs) -> dict[str, list[float]]:
    return {name: value.tolist() for name, value in vars(inputs).items() if value is not None}


@pytest.mark.parametrize("normalize", [True, False])
def test_each_objective_equals_its_formula(inputs, normalize):
    c = columns(inputs)
    kl = 0.3
    share = [w / sum(c["sampled_weight"]) for w in c["sampled_weight"]]
    forward = 0.2 * sum(s * (math.exp(r) - 1 - r) for s, r in zip(share, c["sampled_log_ratio"], strict=True))
    penalty = forward + kl * sum(
        s * (math.exp(r) * r - math.exp(r) + 1) for s, r in zip(share, c["sampled_log_ratio"], strict=True)
    )
    xi = [r + g for r, g in zip(c["residual"], c["g"], strict=True)]
    data_xi = weighted_mean(c["log_ratio"], xi, c["weight"], normalize=normalize)
    data_residual = weighted_mean(c["log_ratio"], c["residual"], c["weight"], normalize=normalize)
    sampled = weighted_mean(c["sampled_log_ratio"], c["sampled_g"], c["sampled_weight"], normalize=normalize)
    settings = {"self_normalize": normalize, "kl": kl, "forward_kl": 0.2}
    assert float(CPO(**settings)(inputs)) == pytest.approx(penalty - data_xi, abs=1e-12)
    assert float(OORLHF(**settings)(inputs)) == pytest.approx(penalty - sampled, abs=1e-12)
    assert float(DRCPO(**settings)(inputs)) == pytest.approx(penalty - data_residual - sampled, abs=1e-12)


@pytest.mark.parametrize("objective", [
    CPO(), OORLHF(), DRCPO(), DRCPO(self_normalize=False), DRCPO(clip=0.2), DRCPO(self_normalize=False, clip=0.3),
    DRCPO(per_token=True), DRCPO(entropy=0.1), DRCPO(kl=0.0), DRCPO(**FREE), DRCPO(taper=True), DRCPO(band=0.3),
    DRCPO(taper=True, self_normalize=False), CPO(band=0.2, self_normalize=False, per_token=True),
])  # fmt: skip
def test_coefficients_are_the_derivatives(inputs, objective):
    _, data, sampled = coefficients(objective, inputs)
    step = 1e-6
    for name, found in (("log_ratio", data), ("sampled_log_ratio", sampled)):
        for i in range(len(found)):
            shift = torch.zeros(len(found), dtype=torch.float64)
            shift[i] = step
            up = objective(replace(inputs, **{name: getattr(inputs, name) + shift}))
            down = objective(replace(inputs, **{name: getattr(inputs, name) - shift}))
            assert float(found[i]) == pytest.approx(float((up - down) / (2 * step)), abs=1e-7)


def test_without_residuals_dr_cpo_is_oo_rlhf(inputs):
    inputs = replace(inputs, residual=torch.zeros(N))
    assert float(DRCPO()(inputs)) == float(OORLHF()(inputs))


def test_self_normalised_objectives_ignore_a_common_shift_of_the_log_ratios(inputs):
    shifted = replace(inputs, log_ratio=inputs.log_ratio + 500.0)
    assert float(CPO(**FREE)(shifted)) == pytest.approx(float(CPO(**FREE)(inputs)), abs=1e-10)


def test_self_normalised_coefficients_sum_to_zero_over_the_batch(inputs):
    _, data, _ = coefficients(CPO(**FREE), inputs)
    assert float(data.sum()) == pytest.approx(0.0, abs=1e-12)


def test_clipping_is_pessimistic_and_stops_the_gradient(inputs):
    far = replace(inputs, log_ratio=torch.full((N,), 1.0), residual=torch.ones(N), g=torch.zeros(N))
    objective = CPO(self_normalize=False, clip=0.2, **FREE)
    loss, data, _ = coefficients(objective, far)
    assert float(loss) == pytest.approx(-1.2)
    assert torch.equal(data, torch.zeros(N, dtype=torch.float64))
    bad = replace(far, residual=-torch.ones(N))
    assert float(objective(bad)) == pytest.approx(math.e)


def test_truncation_cuts_the_largest_ratios_and_their_gradient(inputs):
    ordered = replace(inputs, log_ratio=torch.arange(N, dtype=torch.float64))
    _, data, _ = coefficients(CPO(self_normalize=False, truncation_quantile=0.5, **FREE), ordered)
    assert (data != 0).tolist() == [True] * 4 + [False] * 3


def test_bad_texts_have_a_ratio_of_at_most_one():
    """Two good texts and two bad ones, each at ratios 1/2 and 3: only the bad one at 3 is tapered."""
    ratio, reward = torch.tensor([0.5, 3.0, 0.5, 3.0]), torch.tensor([2.0, 2.0, -2.0, -2.0])
    inputs = logged(ratio.log(), reward)
    loss, data, _ = coefficients(CPO(self_normalize=False, taper=True, **FREE), inputs)
    assert data.tolist() == pytest.approx([-0.25, -1.5, 0.25, 0.5])  # minus min(rho, 1) * reward / 4 for the bad ones
    assert float(loss) == pytest.approx(-(1.0 + 6.0 - 1.0 - 2 * (1 + math.log(3))) / 4)
    # Self-normalised, what is compared with one is the normalised ratio: 3 / 1.75 and 0.5 / 1.75.
    loss, _, _ = coefficients(CPO(taper=True, **FREE), inputs)
    up, down = 3 / 1.75, 0.5 / 1.75
    assert float(loss) == pytest.approx(-(2 * down + 2 * up - 2 * down - 2 * (1 + math.log(up))) / 4)


def test_a_band_grows_with_the_root_of_the_length_and_stops_the_gradient():
    """Half a nat times sqrt(4) = 1 and times sqrt(16) = 2, on both sides."""
    log_ratio, length = torch.tensor([1.5, 1.5, -1.5, -2.5]), torch.tensor([4.0, 16.0, 4.0, 16.0])
    inputs = replace(logged(log_ratio, torch.ones(4)), length=length)
    objective = CPO(self_normalize=False, band=0.5, **FREE)
    loss, data, _ = coefficients(objective, inputs)
    assert data.tolist() == pytest.approx([0.0, -math.exp(1.5) / 4, 0.0, 0.0])
    assert float(loss) == pytest.approx(-(math.exp(1) + math.exp(1.5) + math.exp(-1) + math.exp(-2)) / 4)
    assert objective.clip_fraction(inputs) == pytest.approx(0.75)


def logged(log_ratio: torch.Tensor, reward: torch.Tensor) -> ObjectiveInputs:
    """Logged texts of one token and no others."""
    one, none = torch.ones(len(reward)), torch.zeros(0)
    return ObjectiveInputs(log_ratio, reward, torch.zeros_like(one), one, one, none, none, none, none, none)


def test_kl_estimate_is_the_divergence_by_enumeration():
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    policy = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    # Weighting every text by its reference probability makes the sample mean an exact expectation.
    none, ratio = torch.zeros(4, dtype=torch.float64), (policy / reference).log()
    inputs = ObjectiveInputs(ratio, none, none, reference, none + 1, ratio, none, reference, none + 1, reference.log())
    exact = float((policy * ratio).sum())
    assert float(OORLHF(self_normalize=False, kl=1.0, forward_kl=0.0)(inputs)) == pytest.approx(exact, abs=1e-12)
    backward = float(-(reference * ratio).sum())
    assert float(OORLHF(self_normalize=False, kl=0.0, forward_kl=1.0)(inputs)) == pytest.approx(backward, abs=1e-12)
    entropy = float(-(policy * policy.log()).sum())
    assert float(OORLHF(self_normalize=False, **FREE, entropy=1.0)(inputs)) == pytest.approx(-entropy, abs=1e-12)


@pytest.mark.parametrize("settings", [
    {"clip": 0.0}, {"truncation_quantile": 1.0}, {"kl": -1.0}, {"forward_kl": -1.0}, {"band": 0.0}, {"pessimism": -1.0},
])  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        DRCPO(**settings)


def test_the_clip_fraction_is_the_share_of_weight_that_is_cut():
    ratio, weight = torch.tensor([0.5, 1.0, 1.15, 3.0]), torch.tensor([1.0, 2.0, 3.0, 2.0])
    none = torch.zeros(0)
    inputs = ObjectiveInputs(
        ratio.log(), ratio, ratio, weight, torch.ones(4), none, none, none, none, none
    )  # fmt: skip
    assert CPO(self_normalize=False, clip=0.2).clip_fraction(inputs) == pytest.approx(3 / 8)
    assert CPO(self_normalize=False, truncation_quantile=0.5).clip_fraction(inputs) == pytest.approx(5 / 8)
    assert CPO().clip_fraction(inputs) == 0


def test_texts_of_a_later_policy_enter_the_g_term_alone(inputs):
    """The g term reads the new texts, everything that measures the distance from the reference reads its own."""
    many = len(inputs.sampled_g)
    new = {name: 0.5 * getattr(inputs, name) for name in ("sampled_log_ratio", "sampled_g")}
    names = [name for name in vars(inputs) if name.startswith("sampled_") and name != "sampled_on_policy"]
    joined = replace(
        inputs,
        **{name: torch.cat([getattr(inputs, name), new.get(name, getattr(inputs, name))]) for name in names},
        sampled_on_policy=torch.cat([torch.zeros(many), torch.ones(many)]),
    )
    objective = OORLHF(kl=0.2, forward_kl=0.3, entropy=0.1)
    g_term = OORLHF(kl=0.0, forward_kl=0.0)(replace(inputs, **new))
    assert float(objective(joined)) == pytest.approx(float(g_term + objective.regularizer(inputs)))
