"""Checks of objectives."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from causalopt.objectives.contract import Objective, ObjectiveInputs, coefficients

ROWS = 6


def check_objective(objective: Objective) -> None:
    """Check an objective against its contract (`causalopt.objectives.contract.Objective`).

    The check covers a scalar loss, finite coefficients also far from the reference, independence of the order of the
    rows, ``needs_samples`` and ``couples_batch`` as declared, no dependence on random numbers, and
    all of this for the objective that is given the whole training set, if it depends on that.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.objectives.paper import DRCPO
    >>> from causalopt.testing import check_objective
    >>> check_objective(DRCPO())
    """
    name = type(objective).__name__
    assert isinstance(objective, Objective), f"{name} does not satisfy the contract: inherit from BaseObjective"
    window = _window()
    loss, data, _ = coefficients(objective, window)
    assert loss.ndim == 0, f"{name} returns shape {tuple(loss.shape)}, not a scalar"
    again = coefficients(objective, window)
    assert torch.equal(data, again[1]), f"{name}: two calls with the same inputs differ"
    for spread in (0.0, 20.0):
        far = replace(window, log_ratio=spread * window.log_ratio, sampled_log_ratio=spread * window.sampled_log_ratio)
        for part in coefficients(objective, far):
            assert torch.isfinite(part).all(), f"{name}: not finite if log-ratios reach {spread:g} times a nat"
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = coefficients(objective, _rows(window, order))
    assert torch.allclose(moved[1], data[order], atol=1e-9), f"{name}: a row's coefficient depends on the order of rows"
    if not objective.needs_samples:
        bare = replace(window, **{field: getattr(window, field)[:0] for field in _SAMPLED})
        try:
            without = coefficients(objective, bare)[1]
        except (RuntimeError, IndexError) as error:
            raise AssertionError(f"{name} declares that it needs no samples, but fails without: {error}") from error
        assert torch.isfinite(without).all(), f"{name} declares that it needs no samples, but is not finite without"
        assert without.abs().max() > 0, f"{name} declares that it needs no samples, but is zero without"
    if not objective.couples_batch:
        halves = [coefficients(objective, _rows(window, rows))[1] for rows in torch.arange(ROWS).reshape(2, -1)]
        apart = torch.cat(halves)
        scale = float((data @ apart) / (apart @ apart).clamp_min(1e-300))
        assert torch.allclose(data, scale * apart, atol=1e-8), (
            f"{name} declares that it does not couple the batch, but a row's coefficient depends on other rows"
        )
    if objective.reads_whole_set:
        check_objective(objective.given(window))


_LOGGED = [field.name for field in fields(ObjectiveInputs) if not field.name.startswith("sampled_")]
_SAMPLED = [name for name in (field.name for field in fields(ObjectiveInputs)) if name not in _LOGGED][:-1]


def _window() -> ObjectiveInputs:
    """Two sampled texts per row, unequal rewards and lengths, and ratios within a nat."""
    rng = torch.Generator().manual_seed(0)

    def draw(n: int) -> Tensor:
        return torch.rand(n, generator=rng, dtype=torch.float64) - 0.5

    one, many = torch.ones(ROWS, dtype=torch.float64), torch.ones(2 * ROWS, dtype=torch.float64)
    return ObjectiveInputs(
        *(draw(ROWS), draw(ROWS), draw(ROWS), one, 10 * one),
        *(draw(2 * ROWS), draw(2 * ROWS), many, 10 * many, -20 * many),
        noise=draw(ROWS),
    )


def _rows(window: ObjectiveInputs, rows: Tensor) -> ObjectiveInputs:
    """Keep some rows, with the sampled texts that belong to them."""
    of_rows = (2 * rows[:, None] + torch.arange(2)).flatten()
    kept = {name: getattr(window, name)[of_rows] for name in _SAMPLED}
    return replace(window, **kept, **{name: getattr(window, name)[rows] for name in _LOGGED})
