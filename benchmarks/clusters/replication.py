"""One survey: doubly robust values with every kind of standard error."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from benchmarks.clusters.survey import Ratings, policy_draws, survey, truth
from causalopt.evaluation import Estimate, dr, sndr
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.typing import Array, Float64

DESIGNS = {"randomised": 0.0, "confounded": 0.3}
"""Size of the correlation between a text's first coordinate and the covariate of those who rate it."""
DRAWS = 4000
FOLDS = 5


class LeastSquares:
    """m linear in the covariate and in the embedding, with the square of the first coordinate if ``curved``."""

    def __init__(self, curved: bool) -> None:
        self.curved = curved

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        root = np.sqrt(weight)[:, None]
        self.coefficients = np.linalg.lstsq(root * np.hstack([self._text(x), w]), root[:, 0] * y, rcond=None)[0]
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return np.asarray(np.hstack([self._text(x), w]) @ self.coefficients)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return self.predict(x, np.tile(np.average(w_reference, axis=0, weights=weight_reference), (len(x), 1)))

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        mean = self._text(x_draws).mean(axis=0)
        return np.asarray(np.hstack([np.tile(mean, (len(w), 1)), w]) @ self.coefficients)

    def _text(self, x: Array) -> Float64:
        return np.hstack([np.ones((len(x), 1)), x, *([x[:, :1] ** 2] if self.curved else [])])


class NormalCopula:
    """s from the correlation of the first coordinate with the covariate, both of them normal: the true family."""

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        self.correlation = float(np.corrcoef(x[:, 0], w[:, 0])[0, 1])
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        r = self.correlation
        given = (x[:, 0] - r * w[:, 0]) ** 2 / (1 - r**2)
        return np.asarray(np.exp(0.5 * (given - x[:, 0] ** 2)) * np.sqrt(1 - r**2))


def replicate(design: str, outcome_model: str, seed: int) -> list[dict[str, Any]]:
    """Estimates of one survey, by estimator and by what the standard error is clustered by."""
    rows = survey(seed, DESIGNS[design])
    fit = cross_fit(
        rows.x,
        rows.w,
        rows.y,
        group=rows.text,
        outcome_model=LeastSquares(curved=outcome_model == "right"),
        assignment_model=NormalCopula(),
        folds=FOLDS,
        seed=seed,
        max_weight=np.inf,
    )
    draws = policy_draws(DRAWS, np.random.default_rng([seed, 18]))
    xi = fit.s * (rows.y - fit.m) + fit.g
    g_policy, response = fit.dose_response(draws), fit.reader_response(draws)
    common = {"design": design, "outcome_model": outcome_model, "replication": seed, "truth": truth()}
    found = []
    for name, estimator in (("dr", dr), ("sndr", sndr)):
        for clustered, cluster in ways(rows).items():
            estimate = estimator(rows.log_ratio, xi, fit.g, g_policy, reader_response=response, cluster=cluster)
            found.append({**common, "estimator": name, "clustered_by": clustered, **_columns(estimate)})
    return found


def ways(rows: Ratings) -> dict[str, Any]:
    return {"text and reader": (rows.text, rows.reader), "text": rows.text, "reader": rows.reader, "nothing": None}


def _columns(estimate: Estimate) -> dict[str, float]:
    low, high = estimate.confint(0.95)
    return {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}
