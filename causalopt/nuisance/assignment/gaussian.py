"""A Gaussian model of the text given the reader in embedding space, and the density ratio that follows."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator

from causalopt.blocks import ROWS, blocks, by_blocks
from causalopt.data.folds import inner_folds, row_codes, text_ids
from causalopt.doors import check_number
from causalopt.nuisance.assignment.reduced_rank import (
    RegressionMoments,
    RegressionPath,
    RegressionSplit,
    choose_settings,
    weighted_squares,
)
from causalopt.nuisance.assignment.sinkhorn import Normalizer, log_sums, margins
from causalopt.nuisance.coordinates import PrincipalCoordinates
from causalopt.nuisance.features import ReaderFeatures
from causalopt.nuisance.outcome.averaging import distinct_rows
from causalopt.repeated import RepeatedRows
from causalopt.typing import Array, Embeddings, Float64, Int64

INNER_FOLDS = 5
LARGEST = 300.0
"""Nats at which a log-weight is cut, so that sums of weights stay finite; the reported truncation is far lower."""
FEWEST_ROWS = 4
"""Rows per inner fold from which rows, not texts, are assigned to folds, if there are fewer texts than folds."""
EVIDENCE = 1.5
"""Standard errors by which the covariates must improve held-out prediction of texts before weights differ from one."""
MANY_ROWS = 2**16
"""Rows of a block whose sums by text are formed at once."""
STRENGTHS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4)
SEARCH_SAMPLE = 400
SEARCH_ROWS = 2000
"""Texts and readers behind the margins, and rows of a fold, during the search for the strength."""
SEARCH_TOLERANCE, SEARCH_STEPS = 1e-3, 20
"""Precision of the margins in that search (see `margins`): far below the differences between strengths."""


class GaussianAssignment(BaseEstimator):  # type: ignore[misc]
    """s(x, w) = p(x) / p(x | w) from x | w ~ N(B phi(w), Sigma).

    B is a ridge regression of the embedding on the covariates (and their squares and products, if held-out likelihood
    selects them), and Sigma is a residual covariance shrunk toward a multiple of the identity; both penalties are
    chosen by held-out likelihood over folds of texts. The log density ratio of two readers is then linear in x, with
    slope Sigma^-1 B (phi(w) - phi(w')), and only that slope is kept. The terms of text alone and reader alone are those
    that give correct margins (see `Normalizer`): for Gaussian texts this recovers the mixture
    p(x) = mean_k p(x | w_k), and for texts made of discrete parts it is correct although the Gaussian's own terms are
    not. The strength of the slope is chosen by the held-out mean of log p(x | w) - log p(x); if no strength is better
    than zero, s = 1.

    Parameters
    ----------
    sample:
        Largest number of texts and of readers in the sums behind the margins.
    seed:
        Seed of the folds and of that sample.

    Attributes
    ----------
    strength_:
        Chosen multiple of the slope; 0 if the covariates do not help to predict the text.
    information_:
        Held-out mean of log p(x | w) - log p(x), nats: the information of the covariates about the text.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.assignment.gaussian import GaussianAssignment
    >>> rng = np.random.default_rng(0)
    >>> w = rng.normal(size=(1000, 1))
    >>> x = 0.5 * w + rng.normal(size=(1000, 1))
    >>> s = GaussianAssignment().fit(x, w, np.ones(1000)).stabilized_weight(x, w)
    >>> log_s = -0.5 * x**2 / 1.25 + 0.5 * (x - 0.5 * w) ** 2
    >>> bool(np.corrcoef(np.log(s), log_s[:, 0])[0, 1] > 0.95)
    True
    """

    takes_float32 = True

    def __init__(self, sample: int = 1000, seed: int = 0) -> None:
        self.sample = sample
        self.seed = seed

    def fit(self, x: Array, w: Array, weight: Float64, text_id: Int64 | None = None) -> Self:
        check_number("gaussian: sample", self.sample, least=1, whole=True)
        self.strength_, self.information_ = 0.0, 0.0
        self.coordinates_ = PrincipalCoordinates.of(x, weight)
        fold = _folds(text_ids(x, text_id), self.seed)
        if fold is None:
            return self
        # Coordinates are learned from each training part alone, just as new texts meet coordinates learned from all
        # rows: a direction that is new in the part left out must be new to the fit too.
        halves = [[np.flatnonzero(part) for part in (fold != k, fold == k)] for k in range(int(fold.max()) + 1)]
        parts = [PrincipalCoordinates.of(x, weight, train) for train, _ in halves]
        if min(len(part.variance) for part in (self.coordinates_, *parts)) == 0:
            return self
        best = -np.inf
        squares: list[list[Float64 | None]] = [[None, None] for _ in parts]  # sums that all features of readers share
        for features in ReaderFeatures.candidates(w, weight):
            splits = [
                RegressionSplit(
                    *(
                        _moments(part, features, x, w, weight, rows, known)
                        for rows, known in zip(both, of_both, strict=True)
                    )
                )
                for part, both, of_both in zip(parts, halves, squares, strict=True)
            ]
            squares = [[split.fitted.texts, split.left_out.texts] for split in splits]
            settings, gain = choose_settings(splits)
            if gain > best:
                best, self.settings_, self.features_, chosen = gain, settings, features, splits
        if best <= 0:
            return self
        slopes = [RegressionPath.of(split.fitted).slope(self.settings_) for split in chosen]
        self._choose_strength(parts, slopes, x, w, weight, fold)
        if self.strength_ > 0:
            self._fit_slope(x, w, weight)
        return self

    def refitted(self, x: Array, w: Array, weight: Float64) -> GaussianAssignment:
        """Fit slope and margins on other rows, with the settings and the strength chosen on the original ones."""
        other = copy.copy(self)
        other.coordinates_ = PrincipalCoordinates.of(x, weight)
        if len(other.coordinates_.variance) == 0:
            other.strength_ = 0.0
        if other.strength_ > 0:
            other._fit_slope(x, w, weight)
        return other

    def _fit_slope(self, x: Array, w: Array, weight: Float64) -> None:
        u, phi = self.coordinates_.transform, self.features_.transform
        moments = _moments(self.coordinates_, self.features_, x, w, weight, np.arange(len(x)))
        self.slope_ = self.strength_ * RegressionPath.of(moments).slope(self.settings_)
        (texts, text_weight), (readers, reader_weight) = drawn_rows(weight, self.sample, self.seed)
        self.normalizer_ = Normalizer.of(u(x[texts]), phi(w[readers]) @ self.slope_, text_weight, reader_weight)

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        return np.ones(len(x)) if self.strength_ == 0 else by_blocks(self._weight, x, w)

    def _weight(self, x: Array, w: Array) -> Float64:
        # log p(x | w) / p(x) = phi(w)' S u(x) - a(x) - b(w): the interaction of text and reader, less the margins.
        readers = self.features_.transform(w) @ self.slope_
        log_ratio = self.normalizer_.log_ratio(self.coordinates_.transform(x), readers)
        return np.asarray(np.exp(np.clip(-log_ratio, -LARGEST, LARGEST)))

    def _choose_strength(
        self,
        coordinates: list[PrincipalCoordinates],
        slopes: list[Float64],
        x: Array,
        w: Array,
        weight: Float64,
        fold: Int64,
    ) -> None:
        parts = []
        phi = self.features_.transform
        for k, (of_part, slope) in enumerate(zip(coordinates, slopes, strict=True)):
            u = of_part.transform
            held_out = np.flatnonzero(fold == k)
            held_out = held_out[:: -(-len(held_out) // SEARCH_ROWS)]
            (rows, row_weight), (others, other_weight) = drawn_rows(
                np.where(fold == k, 0.0, weight), SEARCH_SAMPLE, self.seed
            )
            sample, share = distinct_rows(u(x[rows]), row_weight)
            of_readers, reader_share = distinct_rows(phi(w[others]) @ slope, other_weight)
            texts, readers = u(x[held_out]), phi(w[held_out]) @ slope
            new_text, text = _distinct(texts)
            new_reader, reader = _distinct(readers)
            # The strength multiplies every interaction of a text and a reader, so that each is computed once.
            known, of_text, of_reader = sample @ of_readers.T, new_text @ of_readers.T, new_reader @ sample.T
            real = np.einsum("ij,ij->i", texts, readers)
            gains = [weight[held_out]]
            for strength in STRENGTHS:
                log_text, log_reader = margins(strength * known, share, reader_share, SEARCH_TOLERANCE, SEARCH_STEPS)
                a, b = log_sums(strength * of_text, log_reader), log_sums(strength * of_reader, log_text)
                gains.append(strength * real - a[text] - b[reader])
            parts.append(np.stack(gains, axis=1))
        table = np.concatenate(parts)
        share = table[:, 0] / table[:, 0].sum()
        # Held-out mean of log p(x | w) / p(x), nats per row: the information of the covariates about the text.
        mean = share @ table[:, 1:]
        best = int(np.argmax(mean))
        error = float(np.sqrt(share**2 @ (table[:, 1 + best] - mean[best]) ** 2))
        if mean[best] > EVIDENCE * error:
            self.strength_, self.information_ = STRENGTHS[best], float(mean[best])


def _moments(
    coordinates: PrincipalCoordinates,
    features: ReaderFeatures,
    x: Embeddings,
    w: Array,
    weight: Float64,
    rows: Int64,
    texts: Float64 | None = None,
) -> RegressionMoments:
    """Add up over some rows, a block at a time; ``texts`` is U'AU if it is known."""
    if not isinstance(x, RepeatedRows) or len(rows) <= max(ROWS, len(x.table)):
        parts = (rows[block] for block in blocks(len(rows)))
        return RegressionMoments.of_parts(
            ((coordinates.transform(x[part]), features.transform(w[part]), weight[part]) for part in parts), texts
        )
    # Of texts that repeat, the readers are added up for each text first.
    u, count = coordinates.transform(x.table), 1 + features.transform(w[:1]).shape[1]
    by_text, squares = np.zeros((len(u), count)), np.zeros((count, count))
    for block in blocks(len(rows), MANY_ROWS):
        part = rows[block]
        constant = np.column_stack([np.ones(len(part)), features.transform(w[part])])
        weighted = constant * weight[part][:, None]
        squares += weighted.T @ constant
        by_text += np.column_stack(
            [np.bincount(x.code[part], weights=column, minlength=len(u)) for column in weighted.T]
        )
    known = weighted_squares(u, by_text[:, 0]) if texts is None else texts
    return RegressionMoments(squares, by_text.T @ u, known, float(weight[rows].sum()))


def _folds(text_id: Int64, seed: int) -> Int64 | None:
    """Inner folds, by text; if texts are few and repeat, each of them must be in every training part.

    The margins of a part without a text carry no information about it: its ratios can then be wrong by any factor, and
    any strength can look better than zero.
    """
    few = len(np.unique(text_id)) < INNER_FOLDS <= len(text_id) / FEWEST_ROWS
    return inner_folds(np.arange(len(text_id)) if few else text_id, INNER_FOLDS, seed)


def drawn_rows(weight: Float64, size: int, seed: int) -> tuple[tuple[Int64, Float64], tuple[Int64, Float64]]:
    """Return positions of texts with their weights, and of readers with theirs: all rows that count, or a sample.

    At most ``size`` rows are drawn, with probabilities proportional to their weights, and then weigh the same.
    """
    counts = np.flatnonzero(weight > 0)
    weight = weight[counts]
    if len(counts) <= size:
        return (counts, weight), (counts, weight)
    rng = np.random.default_rng(seed)
    share = weight / weight.sum()
    texts, readers = (counts[rng.choice(len(counts), size, p=share)] for _ in range(2))
    return (texts, np.ones(size)), (readers, np.ones(size))


def _distinct(rows: Float64) -> tuple[Float64, Int64]:
    """Distinct rows, and the position of each row among them, shape [n]."""
    codes = row_codes(rows)
    return rows[np.unique(codes, return_index=True)[1]], codes
