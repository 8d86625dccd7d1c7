"""The result of cross-fitting: nuisances of every row, their held-out scores, and the models for new texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd

from causalopt.data.folds import row_codes
from causalopt.errors import ModelError
from causalopt.nuisance import models
from causalopt.nuisance.contracts import AssignmentModel, OutcomeModel
from causalopt.nuisance.guards import Failure
from causalopt.nuisance.outcome.averaging import distinct_rows
from causalopt.typing import Array, Embeddings, Float64, Int32, Int64


@dataclass(frozen=True)
class Truncation:
    """The truncated part of some weights: as a share of the rows, and as a share of the weights' total."""

    rows: float = 0.0
    mass: float = 0.0


@dataclass(frozen=True, eq=False)
class FoldModels:
    """The models fitted without one fold; None if a nuisance was supplied from outside."""

    outcome: OutcomeModel | None
    assignment: AssignmentModel | None


@dataclass(frozen=True, eq=False)
class Readers:
    """The readers that models are averaged over: in each fold those of the others, each distinct one once.

    Attributes
    ----------
    w, weight:
        Encoded covariates [n, p] and exposure [n] of all rows.
    fold:
        Labels [repeats, n].
    first:
        Position of the first row with the same covariates, shape [n].
    """

    w: Array
    weight: Float64
    fold: Int64
    first: Int32

    @classmethod
    def of(cls, w: Array, weight: Float64, fold: Int64) -> Self:
        """Find equal readers among the rows."""
        codes = row_codes(w)
        return cls(w, weight, fold, np.unique(codes, return_index=True)[1].astype(np.int32)[codes])

    def outside(self, repeat: int, fold: int) -> tuple[Array, Float64]:
        """Return covariates [k, p] and exposures [k] of the distinct readers of all folds but one."""
        rows = np.flatnonzero(self.fold[repeat] != fold)
        found, at, position = np.unique(self.first[rows], return_index=True, return_inverse=True)
        order = np.argsort(at)  # of first appearance
        weight = np.bincount(position, weights=self.weight[rows]).astype(np.float64)
        return self.w[found[order]], weight[order]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The models that are used for a text: those that were not fitted on it.

    The correction of a logged text's value uses the model that held the text out, so its plug-in value must use that
    model too: with the others, which were fitted on the text, the effect would be counted twice. A text that was never
    logged was held out by all models, and each is weighted by the exposure of the rows that it corrects.

    Attributes
    ----------
    share:
        Weight of each fold's model for each text number, ``share[repeat]`` of shape [t, folds]; rows sum to one, or to
        zero for a number that no row has.
    elsewhere:
        The same for any other text, ``elsewhere[repeat]`` of shape [folds].
    """

    share: tuple[Float64, ...]
    elsewhere: tuple[Float64, ...]

    @classmethod
    def of(cls, text_id: Int64, fold: Int64, weight: Float64) -> HeldOut:
        """Compute the weights from the rows: numbers of their texts [n], labels [repeats, n], exposure [n]."""
        share, elsewhere = [], []
        for label in fold:
            rows = np.zeros((int(text_id.max()) + 1, int(label.max()) + 1))
            np.add.at(rows, (text_id, label), 1.0)
            share.append(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1.0))
            elsewhere.append(np.bincount(label, weights=weight) / weight.sum())
        return cls(tuple(share), tuple(elsewhere))

    def shares(self, text_id: Int64) -> list[Float64]:
        """Return the weight of each fold's model for any texts, ``[repeat]`` of shape [k, folds]."""
        return [
            np.where(logged[:, None], share[np.where(logged, text_id, 0)], elsewhere)
            for share, elsewhere in zip(self.share, self.elsewhere, strict=True)
            for logged in [self._logged(share, text_id)]
        ]

    def folds_for(self, text_id: Int64, fold: Int64) -> Int64:
        """Fold whose model is used for a text read by the reader of a row, shape [repeats, k].

        Parameters
        ----------
        text_id:
            Number of each text, shape [k].
        fold:
            Fold in which the row was held out, shape [repeats, k].

        Returns
        -------
        Int64
            The row's own fold, unless the text was logged only in another one.
        """
        chosen = fold.copy()
        for r, share in enumerate(self.share):
            logged = self._logged(share, text_id)
            of_text = share[np.where(logged, text_id, 0)]
            alone = logged & (of_text.max(axis=1) == 1.0)
            chosen[r, alone] = of_text.argmax(axis=1)[alone]
        return chosen

    @staticmethod
    def _logged(share: Float64, text_id: Int64) -> Array:
        known = (text_id >= 0) & (text_id < len(share))
        return np.asarray(known & (share[np.where(known, text_id, 0)].sum(axis=1) > 0))


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Nuisances of n rows, each from models fitted without the row's group.

    Attributes
    ----------
    fold:
        Labels [repeats, n].
    m, g:
        E[Y | x_i, w_i] and its mean over readers (with prompts: over those of the row's prompt), outcome units, shape
        [n]; medians over the repeats.
    s:
        Stabilized weight after truncation, shape [n]; median over the repeats.
    truncated:
        Share of the rows, and of the weights' total, that truncation cut.
    scores:
        One row for each repeat, fold, nuisance and candidate: held-out ``loss`` (squared outcome units; nats),
        ``null_loss`` of the mean outcome or of s = 1, ``skill`` = 1 - loss / null_loss, ``marginal_error`` (root mean
        square Monte Carlo error of g, outcome units, zero if g is exact), and whether the candidate was ``chosen``.
    models:
        ``models[repeat][fold]``.
    readers:
        The readers of all rows that the models were fitted on, also where this is a part of them.
    held_out:
        Which of them were not fitted on a text.
    failures:
        Nuisances that could not be used: for an outcome model, m and g are the mean of the training outcomes; for an
        assignment model, s is 0 in every row and there is no correction; for an observation model, pi is the rate of
        the training rows.
    pi:
        p(observed | x_i, w_i) after truncation, shape [n], the median over the repeats; None if all outcomes were
        observed.
    truncated_observation:
        Share of the rows, and of the total of observed / pi, that truncation cut.
    """

    fold: Int64
    m: Float64
    s: Float64
    g: Float64
    truncated: Truncation
    scores: pd.DataFrame
    models: tuple[tuple[FoldModels, ...], ...]
    held_out: HeldOut
    readers: Readers
    w: Array
    seed: int = 0
    failures: tuple[Failure, ...] = ()
    pi: Float64 | None = None
    truncated_observation: Truncation = field(default_factory=Truncation)

    def subset(self, index: Array) -> CrossFit:
        """Keep some rows, and all models."""
        rows = {"fold": self.fold[:, index], **{name: getattr(self, name)[index] for name in ("m", "s", "g", "w")}}
        return replace(self, **rows, pi=None if self.pi is None else self.pi[index])

    def dose_response(
        self,
        x_new: Embeddings,
        text_id: Int64 | None = None,
        readers: tuple[Int64, Float64] | None = None,
    ) -> Float64:
        """g of any texts, shape [k], outcome units, by models not fitted on them; the median over the repeats.

        A logged text gets the g of the fold that held it out, any other text the mean over the folds, each with its
        share of the exposure.

        Parameters
        ----------
        x_new:
            Embeddings, shape [k, d].
        text_id:
            Number of each text, shape [k]; None for texts that were never logged.
        readers:
            Positions of the rows whose readers are averaged over, and their exposures; None for all readers, in each
            fold those of the other folds.
        """
        text_id = _never_logged(len(x_new)) if text_id is None else text_id
        some = None if readers is None else distinct_rows(self.w[readers[0]], readers[1])
        first, inverse = distinct(text_id)
        x_new, text_id = x_new[first], text_id[first]
        repeats = []
        for r, (fold_models, share) in enumerate(zip(self.models, self.held_out.shares(text_id), strict=True)):
            g = np.zeros(len(x_new))
            for k, (fitted, part) in enumerate(zip(fold_models, share.T, strict=True)):
                outcome, asked = _known(fitted.outcome), part > 0
                if asked.any():
                    mean_over = self.readers.outside(r, k) if some is None else some
                    mean = models.marginal(outcome, x_new[asked], *mean_over, text_id[asked])[0]
                    g[asked] += part[asked] * mean
            repeats.append(g)
        return np.asarray(np.median(repeats, axis=0)[inverse])

    def row_response(self, x_new: Embeddings, text_id: Int64, row: Int64) -> Float64:
        """m(x_j, w_i) of texts written for rows, shape [k], outcome units: the response of row i's reader to text j.

        It uses the model that held the row out, or the model that held the text out if it was logged elsewhere: a
        logged text is corrected by the residual of that model.

        Parameters
        ----------
        x_new:
            Embeddings of the texts with their prompts, shape [k, d].
        text_id:
            Number of each text, shape [k].
        row:
            Position of the row that each was written for, shape [k].
        """
        speaks = self.held_out.folds_for(text_id, self.fold[:, row])
        response = np.empty(speaks.shape)
        for r, fold_models in enumerate(self.models):
            for k, fitted in enumerate(fold_models):
                asked = speaks[r] == k
                if asked.any():
                    outcome = _known(fitted.outcome)
                    response[r, asked] = models.predict(outcome, x_new[asked], self.w[row[asked]], text_id[asked])
        return np.asarray(np.median(response, axis=0))

    def reader_response(self, x_draws: Embeddings, text_id: Int64 | None = None) -> Float64:
        """Return h_i = mean over the texts of m(x_j, w_i), shape [n], by models fitted without row i's group."""
        text_id = _never_logged(len(x_draws)) if text_id is None else text_id
        response = np.empty(self.fold.shape)
        for r, fold_models in enumerate(self.models):
            for k, fitted in enumerate(fold_models):
                rows = self.fold[r] == k
                if rows.any():
                    outcome = _known(fitted.outcome)
                    response[r, rows] = models.reader_response(outcome, x_draws, self.w[rows], text_id, self.seed)
        return np.asarray(np.median(response, axis=0))


def _never_logged(texts: int) -> Int64:
    return np.arange(-texts, 0, dtype=np.int64)


def _known(outcome: OutcomeModel | None) -> OutcomeModel:
    if outcome is None:
        raise ModelError(
            "the dose response of new texts is not known: m and g came from outside; pass the outcome model itself "
            "(an object with fit, predict and marginal) in place of the arrays"
        )
    return outcome


def distinct(text_id: Int64) -> tuple[Int64, Int64]:
    """First row of each distinct text, and each row's position among them, so that each text is predicted once.

    They are in the order of their appearance, not of their numbers: the numbers of texts that were never logged depend
    on what was asked before, and a matrix product may round a row by its place.
    """
    _, first, inverse = np.unique(text_id, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order].astype(np.int64), np.argsort(order)[inverse.reshape(-1)].astype(np.int64)
