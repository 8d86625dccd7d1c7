"""Standard errors of the whole training set, subtracted from an objective: by hand, and by exact derivatives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from causalopt.objectives.contract import ObjectiveInputs, coefficients
from causalopt.objectives.paper import CPO, DRCPO, OORLHF
from causalopt.testing import check_objective

FREE = {"kl": 0.0, "forward_kl": 0.0}


def whole(n: int = 12, m: int = 8) -> ObjectiveInputs:
    rng = np.random.default_rng(3)

    def draw(size: int, scale: float = 1.0) -> torch.Tensor:
        return torch.tensor(rng.normal(0, scale, size))

    weight, sampled_weight = (torch.tensor(rng.uniform(0.5, 2.0, size)) for size in (n, m))
    return ObjectiveInputs(
        *(draw(n, 0.5), draw(n), draw(n), weight, 10 * torch.ones(n)),
        *(draw(m, 0.5), draw(m), sampled_weight, 10 * torch.ones(m), draw(m)),
        noise=draw(n),
    )


def standard_error(columns: list[tuple[list[float], list[float]]]) -> float:
    """Of a sum of weighted means, one row at a time."""
    variance = 0.0
    for values, weights in columns:
        total = sum(weights)
        mean = sum(w * v for v, w in zip(values, weights, strict=True)) / total
        spread = sum(w * (v - mean) ** 2 for v, w in zip(values, weights, strict=True)) / total
        variance += spread * sum(w * w for w in weights) / total**2
    return math.sqrt(variance)


def exact(inputs: ObjectiveInputs, objective: CPO | OORLHF | DRCPO) -> float:
    rows = {name: value.tolist() for name, value in vars(inputs).items() if value is not None}
    g = [0.0] * len(rows["g"]) if isinstance(objective, DRCPO) else rows["g"]
    zipped = zip(rows["log_ratio"], rows["residual"], g, rows["noise"], strict=True)
    data = [math.exp(r) * (a + b + e) for r, a, b, e in zipped]
    drawn = [math.exp(r) * a for r, a in zip(rows["sampled_log_ratio"], rows["sampled_g"], strict=True)]
    parts = {CPO: [(data, rows["weight"])], OORLHF: [(drawn, rows["sampled_weight"])]}
    parts[DRCPO] = parts[CPO] + parts[OORLHF]
    return standard_error(parts[type(objective)])


@pytest.mark.parametrize("kind", [CPO, OORLHF, DRCPO])
def test_at_the_start_of_a_pass_it_is_the_objective_minus_the_standard_errors(kind) -> None:
    """Value and derivative: the majoriser touches there, and over the whole set the window is exact."""
    inputs, objective = whole(), kind(pessimism=1.5, **FREE)
    plain = kind(**FREE)
    loss, data, sampled = coefficients(objective.given(inputs), inputs)
    assert float(loss) == pytest.approx(float(plain(inputs)) + 1.5 * exact(inputs, objective), abs=1e-12)
    step = 1e-6
    for name, found in (("log_ratio", data), ("sampled_log_ratio", sampled)):
        for i in range(len(found)):
            shift = torch.zeros(len(found), dtype=torch.float64)
            shift[i] = step
            up, down = (replace(inputs, **{name: getattr(inputs, name) + sign * shift}) for sign in (1, -1))
            derivative = sum(
                sign * (float(plain(one)) + 1.5 * exact(one, objective)) / (2 * step)
                for sign, one in ((1, up), (-1, down))
            )
            assert float(found[i]) == pytest.approx(derivative, abs=1e-7)


def test_by_hand() -> None:
    """Two rows of rewards 0 and 2 with noise 0 and 2, ratios 1: mean 2, variance 4, standard error sqrt(4 / 2)."""
    one, none = torch.ones(2), torch.zeros(0)
    inputs = ObjectiveInputs(
        torch.zeros(2), torch.tensor([0.0, 2.0]), torch.zeros(2), one, one, none, none, none, none, none,
        noise=torch.tensor([0.0, 2.0]),
    )  # fmt: skip
    objective = CPO(self_normalize=False, pessimism=3.0, **FREE)
    loss, data, _ = coefficients(objective.given(inputs), inputs)
    assert float(loss) == pytest.approx(-1 + 3 * math.sqrt(2))
    # d se / d log rho_i = u_i (u_i - mean) / (n^2 se): 0 and 4 * 2 / (4 sqrt 2); the value's is rho_i reward_i / 2.
    assert data.tolist() == pytest.approx([0.0, -1 + 3 * math.sqrt(2)])


def test_elsewhere_it_is_never_less_than_the_standard_error() -> None:
    start = whole()
    objective = DRCPO(pessimism=1.0, **FREE)
    given, plain = objective.given(start), DRCPO(**FREE)
    for scale in (0.0, 0.5, 2.0):
        there = replace(start, log_ratio=scale * start.log_ratio, sampled_log_ratio=-scale * start.sampled_log_ratio)
        penalty = float(given(there) - plain(there))
        assert penalty > exact(there, objective)


def test_windows_of_a_pass_average_to_the_whole_set() -> None:
    """With equal exposures, the mean penalty of the windows is that of all rows: none has a variance of its own."""
    start = replace(whole(), weight=torch.ones(12), sampled_weight=torch.ones(8))
    objective = DRCPO(self_normalize=False, pessimism=2.0, **FREE)
    given = objective.given(start)
    windows = []
    for k in range(4):
        cut = {
            name: value[2 * k : 2 * k + 2] if name.startswith("sampled_") else value[3 * k : 3 * k + 3]
            for name, value in vars(start).items()
            if value is not None
        }
        windows.append(float(given(ObjectiveInputs(**cut))))
    assert sum(windows) / 4 == pytest.approx(float(given(start)), abs=1e-12)


def test_the_default_needs_no_whole_set_and_the_contract_holds() -> None:
    assert not DRCPO().reads_whole_set
    assert DRCPO().given(whole()) == DRCPO()
    for objective in (DRCPO(pessimism=1.0), CPO(pessimism=1.0, self_normalize=False), OORLHF(pessimism=0.5)):
        assert objective.reads_whole_set
        check_objective(objective)


def test_without_any_spread_nothing_is_subtracted() -> None:
    one, none = torch.ones(2), torch.zeros(0)
    inputs = ObjectiveInputs(torch.zeros(2), one, 0 * one, one, one, none, none, none, none, none)
    assert float(CPO(pessimism=1.0, **FREE).given(inputs)(inputs)) == -1.0
