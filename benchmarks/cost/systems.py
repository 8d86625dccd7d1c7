"""What is timed: one sample, five folds of texts, and the systems that fit on them.

All fit, in each fold, one regression of the outcome and one of the treatment on 68 or 69 columns: LightGBM of 100 trees
and a ridge regression. `causalopt` also averages m over the readers, for the dose response of every text; the others
estimate the effect of one coordinate and average nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMRegressor
from sklearn.linear_model import RidgeCV

from causalopt.data.folds import group_folds
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.typing import Array, Float64, Int64

DIMENSIONS = 64
COVARIATES = 5
RATINGS = 5
FOLDS = 5


@dataclass(frozen=True)
class Sample:
    """Embeddings x [n, 64] of texts that are rated five times each, covariates w [n, 5], outcomes y, texts [n]."""

    x: Array
    w: Array
    y: Float64
    text: Int64
    fold: Int64

    @classmethod
    def draw(cls, n: int, seed: int) -> Sample:
        rng = np.random.default_rng(seed)
        text = np.arange(n) // RATINGS
        w = rng.normal(size=(n, COVARIATES))
        x = rng.normal(size=(n // RATINGS + 1, DIMENSIONS))[text].astype(np.float32).astype(np.float64)
        y = x[:, 0] + 0.5 * x[:, 1] ** 2 + w[:, 0] * (1 + 0.3 * x[:, 2]) + rng.normal(size=n)
        return cls(x, w, y, text, group_folds(text, FOLDS, seed))

    def splits(self) -> list[tuple[Int64, Int64]]:
        return [(np.flatnonzero(self.fold != k), np.flatnonzero(self.fold == k)) for k in range(FOLDS)]

    def one_treatment(self) -> tuple[Array, Array]:
        """First coordinate, as a scalar treatment, and all other columns."""
        return self.x[:, 0], np.hstack([self.x[:, 1:], self.w])


def trees() -> Any:
    return LGBMRegressor(n_estimators=100, n_jobs=1, random_state=0, verbosity=-1)


def causalopt(sample: Sample) -> None:
    """The default nuisances, with g exact."""
    cross_fit(sample.x, sample.w, sample.y, group=sample.text, fold=sample.fold)


def causalopt_same(sample: Sample) -> None:
    """LightGBM for the outcome, a Gaussian assignment (ridge mean), and g as a mean over a sample of readers."""
    cross_fit(
        sample.x,
        sample.w,
        sample.y,
        group=sample.text,
        fold=sample.fold,
        outcome_model=trees(),
        assignment_model="gaussian",
    )


def econml(sample: Sample) -> float:
    """`LinearDML` of one coordinate; returns its effect, which is 1."""
    from econml.dml import LinearDML

    treatment, controls = sample.one_treatment()
    model = LinearDML(model_y=trees(), model_t=RidgeCV(), cv=sample.splits(), random_state=0)
    model.fit(sample.y, treatment, X=None, W=controls)
    return float(model.const_marginal_effect()[0])


def doubleml(sample: Sample) -> float:
    """`DoubleMLPLR` of one coordinate; returns its effect, which is 1."""
    from doubleml import DoubleMLData, DoubleMLPLR

    treatment, controls = sample.one_treatment()
    names = [f"c{i}" for i in range(controls.shape[1])]
    frame = pd.DataFrame(np.column_stack([sample.y, treatment, controls]), columns=["y", "d", *names])
    model = DoubleMLPLR(DoubleMLData(frame, y_col="y", d_cols="d"), trees(), RidgeCV(), n_folds=FOLDS)
    model.set_sample_splitting([sample.splits()])
    model.fit()
    return float(model.coef[0])


SYSTEMS: dict[str, Callable[[Sample], float | None]] = {
    "causalopt": causalopt,
    "causalopt, same learners": causalopt_same,
    "EconML LinearDML": econml,
    "DoubleML PLR": doubleml,
}
