"""Properties of an objective that are inferred from its coefficients in a small window."""

from __future__ import annotations

from dataclasses import replace

import torch

from causalopt.objectives.contract import Objective, ObjectiveInputs, coefficients


def fewest_rows(objective: Objective, per_row: int) -> int:
    """Smallest window in which outcomes have an effect: 2 if a single row is compared only with itself, else 1.

    With self-normalisation, the ratio of a single row is 1 for every policy, and its coefficient zero for every
    outcome.

    Parameters
    ----------
    objective:
        Any objective.
    per_row:
        Number of sampled texts of each row.

    Examples
    --------
    >>> from causalopt.objectives.paper import CPO, DRCPO
    >>> from causalopt.objectives.probes import fewest_rows
    >>> fewest_rows(CPO(), 1), fewest_rows(CPO(self_normalize=False), 1), fewest_rows(DRCPO(), 2)
    (2, 1, 2)
    """
    alone, both = (_reached_by_outcomes(objective, rows, per_row) for rows in (1, 2))
    return 1 if alone == both else 2


def weighs_by_ratio(objective: Objective, per_row: int) -> bool:
    """Whether a sequence's coefficient depends on its ratio, as in an importance-weighted mean, or is fixed in advance.

    Examples
    --------
    >>> from causalopt.objectives.imitation import SFT
    >>> from causalopt.objectives.paper import CPO
    >>> from causalopt.objectives.probes import weighs_by_ratio
    >>> weighs_by_ratio(CPO(), 1), weighs_by_ratio(SFT(), 1)
    (True, False)
    """
    near, far = (torch.cat(coefficients(objective, _example(2, per_row, spread=spread))[1:]) for spread in (0.1, 1.0))
    return bool((near - far).abs().max() > 1e-9)


def _reached_by_outcomes(objective: Objective, rows: int, per_row: int) -> tuple[bool, bool]:
    """Whether the coefficients of a small window depend on the logged texts' rewards, and on the sampled texts'."""
    inputs = _example(rows, per_row, spread=0.1)
    logged = replace(inputs, residual=-inputs.residual, g=-inputs.g)
    sampled = replace(inputs, sampled_g=-inputs.sampled_g)
    start = torch.cat(coefficients(objective, inputs)[1:])
    moved = [torch.cat(coefficients(objective, other)[1:]) - start for other in (logged, sampled)]
    # If no reward is used, only rounding remains.
    return bool(moved[0].abs().max() > 1e-9), bool(moved[1].abs().max() > 1e-9)


def _example(rows: int, per_row: int, spread: float) -> ObjectiveInputs:
    """Make a small window of unequal rewards and log-ratios."""
    one, many = torch.ones(rows, dtype=torch.float64), torch.ones(rows * per_row, dtype=torch.float64)
    reward, sampled_reward = one.cumsum(0), many.cumsum(0)
    return ObjectiveInputs(
        spread * reward, reward, reward, one, one, -spread * sampled_reward, sampled_reward, many, many, -many
    )
