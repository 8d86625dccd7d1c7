"""What cross-fitting leaves: nuisances of every row, how good they are, and the models for new texts."""

from __future__ import annotations

from collections.abc import Mapping
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
class HeldOut:
    """Which models speak for a text: those that did not see it.

    The correction of a logged text's value uses the model that held the text out, so its plug-in value must use that
    model too: with the others, which were fitted on the text, the effect would be counted twice. A text that was never
    logged was held out by all, and each counts as much as the rows that it corrects.

    Attributes
    ----------
    position:
        Place of each of the t distinct logged texts, by the bytes of its embedding.
    share:
        What each fold's model counts for each of them, ``share[repeat]`` of shape [t, folds]; rows sum to one.
    elsewhere:
        The same for any other text, ``elsewhere[repeat]`` of shape [folds].
    """

    position: Mapping[bytes, int]
    share: tuple[Float64, ...]
    elsewhere: tuple[Float64, ...]

    @classmethod
    def of(cls, x: Array, fold: Int64, weight: Float64) -> HeldOut:
        """Read it off the rows: embeddings [n, d], labels [repeats, n], exposure [n]."""
        texts, code = distinct(x)
        share, elsewhere = [], []
        for label in fold:
            rows = np.zeros((len(texts), int(label.max()) + 1))
            np.add.at(rows, (code, label), 1.0)
            share.append(rows / rows.sum(axis=1, keepdims=True))
            elsewhere.append(np.bincount(label, weights=weight) / weight.sum())
        return cls({_key(text): i for i, text in enumerate(texts)}, tuple(share), tuple(elsewhere))

    def shares(self, x_new: Array) -> list[Float64]:
        """Return what each fold's model counts for any texts, ``[repeat]`` of shape [k, folds]."""
        position = np.array([self.position.get(_key(text), -1) for text in x_new], dtype=np.int64)
        logged = (position >= 0)[:, None]
        return [
            np.where(logged, share[position], elsewhere)
            for share, elsewhere in zip(self.share, self.elsewhere, strict=True)
        ]


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
    held_out:
        Which of them did not see a text.
    """

    fold: Int64
    m: Float64
    s: Float64
    g: Float64
    truncated: Truncation
    scores: pd.DataFrame
    models: tuple[tuple[FoldModels, ...], ...]
    held_out: HeldOut
    w: Array
    seed: int = 0

    def subset(self, index: Array) -> CrossFit:
        """Keep some rows, and all models."""
        rows = {"fold": self.fold[:, index], **{name: getattr(self, name)[index] for name in ("m", "s", "g", "w")}}
        return replace(self, **rows)

    def dose_response(self, x_new: Array) -> Float64:
        """g of any texts, shape [k], outcome units, by models that did not see them; the median over the repeats.

        A logged text (a row with the same embedding) gets the g of the fold that held it out, any other text the mean
        over the folds, each with its share of the exposure.
        """
        x_new, inverse = distinct(np.asarray(x_new, dtype=np.float64))
        repeats = []
        for fold_models, share in zip(self.models, self.held_out.shares(x_new), strict=True):
            g = np.zeros(len(x_new))
            for fitted, part in zip(fold_models, share.T, strict=True):
                outcome, asked = _known(fitted.outcome), part > 0
                if asked.any():
                    mean = models.marginal(outcome, x_new[asked], fitted.readers, fitted.reader_weight)[0]
                    g[asked] += part[asked] * mean
            repeats.append(g)
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


def _key(text: Array) -> bytes:
    return (text + 0.0).tobytes()  # so that -0.0 is 0.0


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
