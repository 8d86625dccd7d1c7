"""What cross-fitting leaves: nuisances of every row, how good they are, and the models for new texts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from causalopt.errors import ModelError
from causalopt.nuisance import models
from causalopt.nuisance.contracts import AssignmentModel, OutcomeModel
from causalopt.nuisance.folds import row_codes
from causalopt.typing import Array, Float64, Int64


@dataclass(frozen=True)
class Truncation:
    """What was cut off the stabilized weights: the share of the rows, and the share of the weights' total."""

    rows: float = 0.0
    mass: float = 0.0


@dataclass(frozen=True, eq=False)
class FoldModels:
    """What was fitted apart from one fold: None where a nuisance came from outside."""

    outcome: OutcomeModel | None
    assignment: AssignmentModel | None
    readers: Array
    reader_weight: Float64


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Nuisances of n rows, each from models that did not see the row's group.

    Attributes
    ----------
    fold:
        Labels [repeats, n].
    m, g:
        E[Y | x_i, w_i] and its mean over readers, outcome units, shape [n]; medians over the repeats.
    s:
        Stabilized weight after truncation, shape [n]; median over the repeats.
    truncated:
        Share of the rows, and of the weights' total, that truncation cut.
    scores:
        One row for each repeat, fold, nuisance and candidate: held-out ``loss`` (squared outcome units; nats),
        ``null_loss`` of the mean outcome or of s = 1, ``skill`` = 1 - loss / null_loss, ``marginal_error`` (root mean
        square Monte Carlo error of g, outcome units, zero where g is exact), and whether the candidate was ``chosen``.
    models:
        ``models[repeat][fold]``.
    """

    fold: Int64
    m: Float64
    s: Float64
    g: Float64
    truncated: Truncation
    scores: pd.DataFrame
    models: tuple[tuple[FoldModels, ...], ...]
    w: Array
    seed: int = 0

    def subset(self, index: Array) -> CrossFit:
        """Keep some rows, and all models."""
        rows = {"fold": self.fold[:, index], **{name: getattr(self, name)[index] for name in ("m", "s", "g", "w")}}
        return replace(self, **rows)

    def dose_response(self, x_new: Array) -> Float64:
        """g of new texts, shape [k], outcome units: the mean over fold models, then the median over the repeats."""
        x_new, inverse = distinct(np.asarray(x_new, dtype=np.float64))
        repeats = []
        for fold_models in self.models:
            parts = []
            for fitted in fold_models:
                outcome = _known(fitted.outcome)
                parts.append(models.marginal(outcome, x_new, fitted.readers, fitted.reader_weight)[0])
            repeats.append(np.mean(parts, axis=0))
        return np.asarray(np.median(repeats, axis=0)[inverse])

    def reader_response(self, x_draws: Array) -> Float64:
        """Return h_i = mean over the texts of m(x_j, w_i), shape [n], by models that did not see row i's group."""
        x_draws = np.asarray(x_draws, dtype=np.float64)
        response = np.empty(self.fold.shape)
        for r, fold_models in enumerate(self.models):
            for k, fitted in enumerate(fold_models):
                rows = self.fold[r] == k
                response[r, rows] = models.reader_response(_known(fitted.outcome), x_draws, self.w[rows], self.seed)
        return np.asarray(np.median(response, axis=0))


def _known(outcome: OutcomeModel | None) -> OutcomeModel:
    if outcome is None:
        raise ModelError(
            "the dose response of new texts is not known: m and g came from outside; pass the outcome model itself "
            "(an object with fit, predict and marginal) in place of the arrays"
        )
    return outcome


def distinct(x: Array) -> tuple[Array, Int64]:
    """Return the distinct rows, and for each row its position among them: a text rated often is predicted once."""
    codes = row_codes(x)
    return x[np.unique(codes, return_index=True)[1]], codes
