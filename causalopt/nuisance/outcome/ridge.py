"""Ridge regression as an outcome model: linear in the text, in the reader, and in their products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.linalg.lapack import dposv, dpotrf, dtrtrs
from sklearn.base import BaseEstimator

from causalopt.blocks import ROWS, blocks, by_blocks
from causalopt.data.folds import inner_folds, text_ids
from causalopt.nuisance.coordinates import PrincipalCoordinates, standardization
from causalopt.repeated import RepeatedRows
from causalopt.typing import Array, Embeddings, Float64, Int64


@dataclass(frozen=True, eq=False)
class BilinearDesign:
    """Columns of a regression on text and reader: coordinates u, covariates w, and products of the two.

    A product lets the effect of a text differ between readers. Only the leading coordinates have products.

    Attributes
    ----------
    coordinates:
        Principal coordinates of the embedding, r of them.
    center, scale:
        Means and scales of the p covariates.
    crossed:
        Number of leading coordinates that are multiplied with every covariate.
    """

    coordinates: PrincipalCoordinates
    center: Float64
    scale: Float64
    crossed: int

    @classmethod
    def of(cls, x: Array, w: Array, weight: Float64, products: int, rows: Int64 | None = None) -> Self:
        """Make a design with at most ``products`` product columns, from all rows or from those at some positions."""
        coordinates = PrincipalCoordinates.of(x, weight, rows)
        center, scale = standardization(w, weight) if rows is None else standardization(w[rows], weight[rows])
        crossed = 0 if w.shape[1] == 0 else min(len(coordinates.variance), products // w.shape[1])
        return cls(coordinates, center, scale, crossed)

    @property
    def block(self) -> Int64:
        """Block that each column belongs to, shape [r + p + crossed * p]: 0 text, 1 reader, 2 product."""
        r, p = len(self.coordinates.variance), len(self.center)
        return np.repeat(np.array([0, 1, 2]), [r, p, self.crossed * p])

    @property
    def variance(self) -> Float64:
        """Variance of the embedding behind each column, as a share of the largest; 1 for covariates."""
        share = self.coordinates.variance / self.coordinates.variance.max(initial=1e-300)
        return np.concatenate([share, np.ones(len(self.center)), np.repeat(share[: self.crossed], len(self.center))])

    def text(self, x: Array) -> Float64:
        """Return [1, u], shape [n, 1 + r]."""
        return np.column_stack([np.ones(len(x)), self.coordinates.transform(x)])

    def reader(self, w: Array) -> Float64:
        """Return [1, standardised w], shape [n, 1 + p]."""
        return np.column_stack([np.ones(len(w)), (np.asarray(w, dtype=np.float64) - self.center) / self.scale])

    def matrix(self, x: Array, w: Array) -> Float64:
        """Return all columns without the constant, shape [n, r + p + crossed * p]."""
        # z = [u, v, u (x) v]: m(x, w) = b0 + b_u'u + b_v'v + u' B v is linear in it.
        u, v = self.text(x)[:, 1:], self.reader(w)[:, 1:]
        products = (u[:, : self.crossed, None] * v[:, None, :]).reshape(len(u), -1)
        return np.hstack([u, v, products])

    def parts(
        self, x: Array, w: Array, outcomes: Float64, weight: Float64, rows: Int64 | None = None
    ) -> Iterator[tuple[Float64, Float64, Float64]]:
        """Yield `matrix`, outcomes and weight of all rows, or of those at some positions, a block at a time."""
        for block in blocks(len(x) if rows is None else len(rows)):
            part = block if rows is None else rows[block]
            yield self.matrix(x[part], w[part]), outcomes[part], weight[part]

    def moments(
        self, x: Embeddings, w: Array, outcomes: Float64, weight: Float64, rows: Int64 | None = None
    ) -> list[Moments]:
        """Add up over all rows, or over those at some positions, for each column of ``outcomes`` [n, k]."""
        count = len(x) if rows is None else len(rows)
        if isinstance(x, RepeatedRows) and count > ROWS:
            r, p = len(self.coordinates.variance), len(self.center)
            by_text = (1 + p) * (2 + p) / 2 * len(x.table) * (1 + r) ** 2
            if by_text < count * (1 + len(self.block)) ** 2:
                return self._moments_by_text(x, w, outcomes, weight, slice(None) if rows is None else rows)
        return Moments.of_each(self.parts(x, w, outcomes, weight, rows))

    def _moments_by_text(
        self, x: RepeatedRows, w: Array, outcomes: Float64, weight: Float64, rows: Any
    ) -> list[Moments]:
        """`moments` of texts that repeat: all columns are products U_l V_j, and rows are added up for each text first.

        sum_i a_i U_l V_j U_m V_k = sum over texts of U_l U_m times the sum of a V_j V_k over the readers of the text.
        """
        code, a, y = x.code[rows], weight[rows], outcomes[rows]
        u, v = self.text(x.table), self.reader(w[rows])
        r, p = u.shape[1] - 1, v.shape[1] - 1

        def of_texts(values: Float64) -> Float64:
            return np.bincount(code, weights=values, minlength=len(u)).astype(np.float64)

        squares, cross = np.empty((1 + p, 1 + p, 1 + r, 1 + r)), np.empty((1 + p, 1 + r, y.shape[1]))
        for j in range(1 + p):
            weighted = a * v[:, j]
            for k in range(j, 1 + p):
                squares[j, k] = squares[k, j] = (u * of_texts(weighted * v[:, k])[:, None]).T @ u
            for k in range(y.shape[1]):
                cross[j, :, k] = u.T @ of_texts(weighted * y[:, k])
        crossed, readers = np.meshgrid(np.arange(1, 1 + self.crossed), np.arange(1, 1 + p), indexing="ij")
        text = np.concatenate([np.arange(1 + r), np.zeros(p), crossed.ravel()]).astype(np.int64)
        reader = np.concatenate([np.zeros(1 + r), np.arange(1, 1 + p), readers.ravel()]).astype(np.int64)
        zz = squares[reader[:, None], reader, text[:, None], text]
        zy, yy, total = cross[reader, text], a @ y**2, float(a.sum())
        return [Moments(zz, np.ascontiguousarray(zy[:, k]), float(yy[k]), total) for k in range(y.shape[1])]

    def function(self, coefficients: Float64) -> BilinearFunction:
        """Return the regression function with an intercept and these coefficients of `matrix`'s columns."""
        intercept, coefficients = coefficients[0], coefficients[1:]
        r, p = len(self.coordinates.variance), len(self.center)
        table = np.zeros((1 + r, 1 + p))
        table[0, 0] = intercept
        table[1:, 0] = coefficients[:r]
        table[0, 1:] = coefficients[r : r + p]
        table[1 : 1 + self.crossed, 1:] = coefficients[r + p :].reshape(self.crossed, p)
        return BilinearFunction(self, table)


@dataclass(frozen=True, eq=False)
class BilinearFunction:
    """m(x, w) = [1, u]' table [1, v] with u of the text and v of the reader; table is [1 + r, 1 + p]."""

    design: BilinearDesign
    table: Float64

    def predict(self, x: Array, w: Array) -> Float64:
        """m(x_i, w_i), shape [n]."""
        # m(x, w) = [1, u]' T [1, v]: linear in each, so that a mean over readers or texts is T times their mean.
        return by_blocks(self._predict, x, w)

    def _predict(self, x: Array, w: Array) -> Float64:
        return np.asarray(np.einsum("ij,ij->i", self.design.text(x) @ self.table, self.design.reader(w)))

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        """Mean over the readers, exact: m is linear in w, so it is m at the mean reader. Shape [n]."""
        parts = blocks(len(w_reference))
        mean = sum(weight_reference[part] @ self.design.reader(w_reference[part]) for part in parts)
        slope = self.table @ (mean / weight_reference.sum())
        return by_blocks(lambda part: self.design.text(part) @ slope, x)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over the texts, exact: m is linear in u. Shape [n], one value per reader."""
        mean = sum(self.design.text(x_draws[part]).sum(axis=0) for part in blocks(len(x_draws))) / len(x_draws)
        slope = mean @ self.table
        return by_blocks(lambda part: self.design.reader(part) @ slope, w)


DROPPED = 1e8
"""A penalty from which on columns are left out of the regression; their coefficients would be below 1e-8."""
TEXT = (*(10.0 ** np.arange(-4.0, 2.0, 0.5)).tolist(), DROPPED)
READER = (1e-6, 1e-4, 1e-2, 1.0)
PRODUCT = (DROPPED, *(10.0 ** np.arange(-2.0, 2.5, 0.5)).tolist())
ANISOTROPY = (0.0, 0.5, 1.0)
SWEEPS = 2


@dataclass(frozen=True)
class Penalty:
    """Penalties as pseudo-rows per row of data: 1 means that the prior counts as much as the data.

    Covariates have a separate, light penalty: if they were shrunk as much as the many weak coordinates of a text, they
    would leave residual confounding.

    Attributes
    ----------
    text, reader, product:
        Penalties of the three blocks of columns.
    anisotropy:
        0 penalises whitened coordinates alike; 1 penalises in proportion to 1 / variance, as a ridge on the raw
        embedding does.
    """

    text: float = 0.1
    reader: float = 1e-4
    product: float = DROPPED
    anisotropy: float = 0.5

    def vector(self, block: Int64, variance: Float64) -> Float64:
        """Return the penalty of each column, shape [p]."""
        factors = np.array([self.text, self.reader, self.product])
        # A ridge on raw coordinates penalises whitened ones by 1 / variance; a power between 0 and 1 interpolates.
        return factors[block] * variance**-self.anisotropy


NOTHING = Penalty(DROPPED, DROPPED, DROPPED, 0.0)
"""Drops all columns except the constant."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the rows of one fold, with a leading constant column: Z'AZ, Z'Ay, y'Ay for weights A."""

    zz: Float64
    zy: Float64
    yy: float
    total: float

    @classmethod
    def of(cls, z: Float64, y: Float64, weight: Float64) -> Moments:
        """Sum over rows; ``z`` [n, p] has no constant column."""
        return cls.of_each([(z, y[:, None], weight)])[0]

    @classmethod
    def of_each(cls, parts: Iterable[tuple[Float64, Float64, Float64]]) -> list[Moments]:
        """Sum over rows for each column of ``outcomes``; blocks of z [n, p], outcomes [n, k] and weight [n]."""
        sums: list[Any] = [0.0] * 4
        for z, outcomes, weight in parts:
            root = np.sqrt(weight)[:, None]
            rooted = np.column_stack([np.ones(len(z)), z]) * root
            # A matrix with its own transpose: half the work.
            new = rooted.T @ rooted, rooted.T @ (outcomes * root), weight @ outcomes**2, float(weight.sum())
            sums = [known + part for known, part in zip(sums, new, strict=True)]
        zz, zy, yy, total = sums
        return [cls(zz, np.ascontiguousarray(zy[:, j]), float(yy[j]), total) for j in range(zy.shape[1])]

    def solve(self, penalty: Float64) -> Float64:
        """Coefficients with the constant first, shape [1 + p]; the constant is not penalised.

        A column with a penalty of `DROPPED` or more has the coefficient zero.
        """
        return np.asarray(self.solve_each(penalty[None])[0])

    def solve_each(self, penalties: Float64) -> Float64:
        """`solve` for each row of ``penalties`` [k, p], shape [k, 1 + p]; fast if they differ in few columns."""
        coefficients = np.zeros((len(penalties), len(self.zy)))
        kept = np.column_stack([np.ones(len(penalties), dtype=bool), penalties < DROPPED])
        for columns in {columns.tobytes(): columns for columns in kept}.values():
            rows = np.flatnonzero((kept == columns).all(axis=1))
            added = penalties[np.ix_(rows, columns[1:])]
            coefficients[np.ix_(rows, columns)] = self._among(np.flatnonzero(columns))._solve_path(added)
        return coefficients

    def _among(self, columns: Int64) -> Moments:
        """Return the sums of some columns, which include the constant."""
        if len(columns) == len(self.zy):
            return self
        return Moments(_block(self.zz, columns, columns), self.zy[columns], self.yy, self.total)

    def _solve_path(self, penalties: Float64) -> Float64:
        """`solve_each` if no column is dropped.

        Columns of one penalty throughout are eliminated first and once; each row of ``penalties`` then costs a system
        in the others (their Schur complement).
        """
        # A pseudo-row of 1e-9 keeps the system positive definite if columns are collinear.
        added = self.total * (np.column_stack([np.zeros(len(penalties)), penalties]) + 1e-9)
        varies = np.ptp(added, axis=0) > 0
        same, other = np.flatnonzero(~varies), np.flatnonzero(varies)
        # Some hundred small systems are solved for each fit: call the routines themselves, without the checks around
        # them. The transpose of a symmetric matrix has the order of columns that they read.
        factor, failed = dpotrf(_with_diagonal(_block(self.zz, same, same), added[0, same]).T, lower=1, overwrite_a=1)
        if failed:
            return self._least_squares(added)
        known = np.column_stack([_block(self.zz, same, other), self.zy[same]])
        halfway = dtrtrs(factor, known, lower=1)[0]
        across, target = halfway[:, :-1], halfway[:, -1]
        rest = _block(self.zz, other, other) - across.T @ across
        rest_target = self.zy[other] - across.T @ target
        coefficients = np.empty(added.shape)
        for solution, own in zip(coefficients, added[:, other], strict=True):
            if len(other) == 0:
                break
            system = _with_diagonal(rest.copy(), own)
            _, solution[other], failed = dposv(system.T, rest_target, lower=1, overwrite_a=1)
            if failed:
                return self._least_squares(added)
        found = dtrtrs(factor, target[:, None] - across @ coefficients[:, other].T, lower=1, trans=1)[0]
        coefficients[:, same] = found.T
        return coefficients

    def _least_squares(self, added: Float64) -> Float64:
        """Solutions of smallest norm, for each row of numbers that are added to the diagonal."""
        systems = [_with_diagonal(self.zz.copy(), own) for own in added]
        return np.stack([np.asarray(np.linalg.lstsq(matrix, self.zy)[0]) for matrix in systems])

    def loss(self, coefficients: Float64) -> Float64:
        """Weighted sum of squared errors for each row of ``coefficients`` [k, 1 + p], shape [k]."""
        # sum_i a_i (y_i - z_i'b)^2 from the sums alone: no pass over the rows for each of some hundred penalties.
        squares = np.sum((coefficients @ self.zz) * coefficients, axis=1)
        return np.asarray(self.yy - 2 * coefficients @ self.zy + squares)


def _block(matrix: Float64, rows: Int64, columns: Int64) -> Float64:
    return np.asarray(matrix.take(rows, axis=0).take(columns, axis=1))  # three times as fast as indexing with both


def _with_diagonal(matrix: Float64, added: Float64) -> Float64:
    """Add to the diagonal, in place."""
    np.einsum("ii->i", matrix)[...] += added
    return matrix


@dataclass(frozen=True, eq=False)
class Split:
    """Sums over the rows of an inner training part and of its held-out part, in the columns of the former.

    ``block`` and ``variance`` describe these columns, see `Penalty.vector`. Everything learned from the rows, above all
    their principal coordinates, must be learned from the training part alone: if the held-out rows were included, none
    of their directions would be new, and erratic predictions along new directions would go unnoticed.
    """

    fitted: Moments
    left_out: Moments
    block: Int64
    variance: Float64

    def solve(self, penalties: list[Penalty]) -> Float64:
        """Coefficients fitted on the training part, shape [k, 1 + p]; fast if the penalties differ in one field."""
        return self.fitted.solve_each(np.stack([each.vector(self.block, self.variance) for each in penalties]))

    def loss(self, penalties: list[Penalty]) -> Float64:
        """Weighted sums of squared errors on the held-out part, shape [k]."""
        return self.left_out.loss(self.solve(penalties))


def choose_penalty(splits: list[Split]) -> tuple[Penalty, float]:
    """Search the penalties one after another, twice, for the smallest held-out loss.

    Parameters
    ----------
    splits:
        Inner splits; each row is held out in exactly one.

    Returns
    -------
    penalty, loss:
        The best penalty, and its held-out mean squared error, squared outcome units.
    """
    total = sum(split.left_out.total for split in splits)

    def held_out(penalties: list[Penalty]) -> dict[Penalty, float]:
        losses = np.sum([split.loss(penalties) for split in splits], axis=0) / total
        return dict(zip(penalties, losses.tolist(), strict=True))

    best = Penalty()
    known = held_out([best])
    grids = [("text", TEXT, 0), ("product", PRODUCT, 2), ("anisotropy", ANISOTROPY, 0), ("reader", READER, 1)]
    for _ in range(SWEEPS):
        for field, grid, needs in grids:
            if any((split.block == needs).any() for split in splits):
                tried = [replace(best, **{field: value}) for value in grid]
                if new := [penalty for penalty in tried if penalty not in known]:
                    known.update(held_out(new))
                best = min([best, *tried], key=known.__getitem__)
    return best, known[best]


INNER_FOLDS = 5


def held_out_fits(
    x: Array, w: Array, outcomes: Float64, weight: Float64, text_id: Int64, products: int, seed: int = 0
) -> list[tuple[Penalty, Float64]]:
    """Choose a penalty for each of several outcomes, which share columns and their sums.

    Parameters
    ----------
    x, w, weight, text_id:
        Embeddings [n, d], covariates [n, p], exposures [n] and ids of the texts [n].
    outcomes:
        Shape [n, k].
    products, seed:
        See `RidgeOutcome`.

    Returns
    -------
    list
        For each outcome its penalty, and the prediction of each row from a fit on the other inner folds, shape [n]. If
        the held-out loss is not clearly below that of the mean, these are `NOTHING` and the mean.
    """
    center = np.average(outcomes, axis=0, weights=weight)
    held_out = np.tile(center, (len(outcomes), 1))
    fold = inner_folds(text_id, INNER_FOLDS, seed)
    if fold is None:  # a single text: nothing can be held out, and only readers differ
        return [(Penalty(), column) for column in held_out.T]
    out = [fold == k for k in range(int(fold.max()) + 1)]
    designs = [BilinearDesign.of(x, w, weight, products, np.flatnonzero(~rows)) for rows in out]
    splits = [_splits(design, x, w, outcomes - center, weight, rows) for design, rows in zip(designs, out, strict=True)]
    found = []
    for j, of_outcome in enumerate(zip(*splits, strict=True)):
        penalty, _ = choose_penalty(list(of_outcome))
        for design, split, rows in zip(designs, of_outcome, out, strict=True):
            held_out[rows, j] += design.function(split.solve([penalty])[0]).predict(x[rows], w[rows])
        if not _better(outcomes[:, j], held_out[:, j], float(center[j]), weight, text_id):
            penalty, held_out[:, j] = NOTHING, center[j]
        found.append((penalty, held_out[:, j].copy()))
    return found


def _splits(design: BilinearDesign, x: Array, w: Array, outcomes: Float64, weight: Float64, out: Array) -> list[Split]:
    """One inner split for each column of ``outcomes``."""
    fitted, left_out = (design.moments(x, w, outcomes, weight, np.flatnonzero(rows)) for rows in (~out, out))
    return [Split(*parts, design.block, design.variance) for parts in zip(fitted, left_out, strict=True)]


class RidgeOutcome(BaseEstimator):  # type: ignore[misc]
    """E[Y | x, w] by ridge regression on principal coordinates of the text, covariates, and products of the two.

    Text, covariates and products have separate penalties, chosen by held-out loss over folds of texts (Hoerl and
    Kennard 1970). Covariates are hardly penalised, since shrinking them leaves residual confounding. The products let
    the effect of a text differ between readers, and are dropped if they do not reduce held-out loss. Since the model is
    linear in the reader, its average over readers is exact.

    Parameters
    ----------
    products:
        Largest number of product columns; 0 for an additive model.
    seed:
        Seed of the assignment of texts to inner folds.

    Attributes
    ----------
    penalty_:
        The chosen penalty.
    held_out_:
        Prediction for each training row from a fit on the other inner folds, shape [n].

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.ridge import RidgeOutcome
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(200, 3)), rng.normal(size=(200, 1))
    >>> y = x[:, 0] + 2 * w[:, 0] + x[:, 1] * w[:, 0]
    >>> model = RidgeOutcome().fit(x, w, y, np.ones(200))
    >>> bool(np.allclose(model.predict(x, w), y, atol=0.1))
    True
    """

    takes_float32 = True

    def __init__(self, products: int = 256, seed: int = 0) -> None:
        self.products = products
        self.seed = seed

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        center = float(np.average(y, weights=weight))
        text_id = text_ids(x, text_id)
        outcomes = np.asarray(y, dtype=np.float64)[:, None]
        self.penalty_, self.held_out_ = held_out_fits(x, w, outcomes, weight, text_id, self.products, self.seed)[0]
        design = BilinearDesign.of(x, w, weight, self.products)
        everything = design.moments(x, w, outcomes - center, weight)[0]
        coefficients = everything.solve(self.penalty_.vector(design.block, design.variance))
        coefficients[0] += center
        self.function_ = design.function(coefficients)
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return self.function_.predict(x, w)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return self.function_.marginal(x, w_reference, weight_reference)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        return self.function_.reader_response(x_draws, w)


def _better(y: Float64, held_out: Float64, center: float, weight: Float64, text_id: Int64) -> bool:
    """Whether held-out loss is below that of the mean by a standard error, clustered by text.

    The smallest of many losses is also small by chance: a smaller difference from the mean's loss counts as noise.
    """
    scale = float(np.sqrt(np.average((y - center) ** 2, weights=weight))) or 1.0
    gain = weight * (((y - center) / scale) ** 2 - ((y - held_out) / scale) ** 2)
    by_text = np.bincount(np.unique(text_id, return_inverse=True)[1], weights=gain)
    return bool(by_text.sum() > np.sqrt(np.sum((by_text - by_text.mean()) ** 2)))
