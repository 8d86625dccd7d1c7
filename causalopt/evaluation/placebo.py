"""Checks whose answer is known: an effect where there can be none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import gammaln

from causalopt.errors import DataError
from causalopt.evaluation.estimate import Estimate
from causalopt.evaluation.ipw import snipw
from causalopt.evaluation.rows import ratio_estimate
from causalopt.evaluation.validation import as_codes, as_vector
from causalopt.evaluation.weights import WeightedRows
from causalopt.progress import track
from causalopt.typing import Float64, Int64


def placebo_outcome(
    log_ratio: Any, placebo: Any, *, s: Any = None, weight: Any = None, cluster: Any = None
) -> Estimate:
    """Estimate the policy's effect on something that no text can have moved; it should be zero.

    The placebo is anything fixed before the text was read: an earlier response, or a covariate that was kept out of
    the assignment model. Its mean under the policy's weights, minus its plain mean, is the sum of what is left of
    confounding after s.

    Parameters
    ----------
    log_ratio:
        log P^f(x_i|c_i) - log q(x_i|c_i), shape [n], nats.
    placebo:
        Shape [n], its own units.
    s:
        Stabilized weight of each row, shape [n], or None for ones. Zero is allowed, negative is not.
    weight, cluster:
        As in `ipw`.

    Returns
    -------
    Estimate
        Weighted minus plain mean; ``test()`` gives the p-value of "no confounding is left that this placebo shows".

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import placebo_outcome
    >>> rng = np.random.default_rng(0)
    >>> estimate = placebo_outcome(rng.normal(0, 0.5, size=1000), rng.normal(size=1000))
    >>> estimate.test().p_value > 0.05
    True
    """
    rows = WeightedRows.of(log_ratio, weight)
    placebo = rows.column("placebo", placebo)
    combined = rows.log_ratio
    if s is not None:
        s = rows.column("s", s)
        if (s < 0).any():
            raise DataError(f"s[{int(np.argmax(s < 0))}] is negative: a stabilized weight is zero or more")
        with np.errstate(divide="ignore"):
            combined = combined + np.log(s)
    weighted = snipw(combined, placebo, weight=weight, cluster=cluster)
    everybody = WeightedRows(np.zeros(rows.n), rows.exposure)
    plain = ratio_estimate(
        everybody,
        np.ones(rows.n),
        placebo,
        self_normalized=True,
        reader_response=None,
        cluster=cluster,
        estimator="mean",
    )
    return replace(weighted - plain, estimator="placebo_outcome")


@dataclass(frozen=True, eq=False)
class PlaceboAssignment:
    """What the estimate does when the texts are dealt anew, so that no text has an effect.

    Attributes
    ----------
    observed:
        Weighted minus plain mean with the real texts.
    placebo:
        The same with the texts dealt at random, shape [repeats], outcome units.
    p_value:
        Share of the deals (the real one counted among them) at least as far from the mean of all as ``observed``: a
        test of "no text moves anybody", exact under the assumptions of `placebo_assignment`.
    rejections:
        Share of the deals whose 95% interval excludes zero; near 0.05 when the standard error is right.
    whole_units:
        Whether whole units traded places, or rows.
    """

    observed: Estimate
    placebo: Float64
    p_value: float
    rejections: float
    whole_units: bool


def placebo_assignment(
    log_ratio: Any,
    xi: Any,
    *,
    unit: Any = None,
    weight: Any = None,
    cluster: Any = None,
    repeats: int = 500,
    seed: int = 0,
) -> PlaceboAssignment:
    """Deal the texts anew among the rows, many times, and estimate each time the effect that is not there.

    Parameters
    ----------
    log_ratio:
        Shape [n], nats; what is dealt.
    xi:
        Pseudo-outcome of each row, shape [n], outcome units; stays where it is.
    unit:
        Labels [n] of texts, or None for rows that all differ. Units trade places with units of as many rows; the
        log-ratio must be constant within a unit.
    weight, cluster:
        As in `ipw`.
    repeats, seed:
        Number of deals, and the seed of the generator that makes them.

    Notes
    -----
    A text that was shown often differs from one that was shown seldom, in its log-ratio too, so that they cannot trade
    places. Trades of whole units of as many rows make an exact test both where each row drew its text at random and
    where rows of a text share a shock of their own, if units of as many rows are alike before anybody reads. Where
    sizes differ so much that such trades leave fewer different deals than ``repeats``, rows are dealt in place of
    units: the test is then exact where each row drew its text at random by the same law, and rejects too often where
    rows of a text share a shock. Where texts were not randomised (s is not 1, or the law depends on a prompt) the test
    is approximate at best: rows of the same s and prompt are alike, others are not.

    Raises
    ------
    DataError
        When the log-ratio varies within a unit, or on arrays that cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import placebo_assignment
    >>> rng = np.random.default_rng(0)
    >>> log_ratio = rng.normal(0, 0.5, size=300)
    >>> check = placebo_assignment(log_ratio, log_ratio + rng.normal(size=300), repeats=99)
    >>> check.p_value
    0.01
    """
    rows = WeightedRows.of(log_ratio, weight)
    xi = as_vector("xi", xi, rows.n)
    if repeats < 1:
        raise DataError(f"repeats must be at least 1, not {repeats}")
    codes = np.arange(rows.n) if unit is None else as_codes("unit", unit, rows.n)
    dealt = rows.log_ratio[np.unique(codes, return_index=True)[1]]
    if not np.array_equal(dealt[codes], rows.log_ratio):
        row = int(np.argmax(dealt[codes] != rows.log_ratio))
        raise DataError(f"log_ratio[{row}] differs from another row of its unit: a text has one log-ratio")
    whole_units = _can_trade(codes, repeats)
    if not whole_units:
        codes, dealt = np.arange(rows.n), rows.log_ratio
    size = np.bincount(codes)
    observed = placebo_outcome(rows.log_ratio, xi, weight=weight, cluster=cluster)
    rng = np.random.default_rng(seed)
    estimates = [
        placebo_outcome(_traded(dealt, size, rng)[codes], xi, weight=weight, cluster=cluster)
        for _ in track(range(repeats), "dealing texts anew", repeats)
    ]
    values = np.array([estimate.value for estimate in estimates])
    distance = np.abs(np.append(values, observed.value) - np.append(values, observed.value).mean())
    return PlaceboAssignment(
        observed=observed,
        placebo=values,
        p_value=float(np.mean(distance >= distance[-1] * (1 - 1e-12))),
        rejections=float(np.mean([estimate.test().p_value < 0.05 for estimate in estimates])),
        whole_units=whole_units and unit is not None,
    )


def _can_trade(codes: Int64, repeats: int) -> bool:
    """Whether trades of units of equal size move half of the rows, in at least ``repeats`` different ways."""
    sizes, alike = np.unique(np.bincount(codes), return_counts=True)
    movable = sizes[alike > 1] @ alike[alike > 1]
    return bool(2 * movable >= len(codes) and gammaln(alike + 1).sum() >= np.log(repeats))


def _traded(values: Float64, size: Int64, rng: np.random.Generator) -> Float64:
    """Values of the units after units of equal size have traded places at random, shape [units]."""
    traded = np.empty_like(values)
    traded[np.argsort(size, kind="stable")] = values[np.lexsort((rng.random(len(size)), size))]
    return traded
