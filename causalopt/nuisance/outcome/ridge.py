"""Ridge regression as an outcome model: linear in the text, in the reader, and in their products."""

from __future__ import annotations

from typing import Self

import numpy as np

from causalopt.data.folds import inner_folds, text_ids
from causalopt.nuisance.outcome.bilinear import BilinearDesign
from causalopt.nuisance.outcome.penalty import NOTHING, Moments, Penalty, Split, choose_penalty
from causalopt.typing import Array, Float64, Int64

INNER_FOLDS = 5


class RidgeOutcome:
    """E[Y | x, w] by ridge regression on principal coordinates of the text, covariates, and products of the two.

    Text, covariates and products have a penalty each, chosen by held-out loss over folds of texts (Hoerl and Kennard
    1970). Covariates are hardly penalised: what shrinks them leaves confounding behind. The products let the effect of
    a text differ between readers, and drop out where held-out loss finds no use for them. Since the model is linear in
    the reader, its average over readers is exact.

    Parameters
    ----------
    products:
        Largest number of product columns; 0 for an additive model.
    seed:
        Deals texts over the inner folds.

    Attributes
    ----------
    penalty_:
        What was chosen.
    held_out_:
        Prediction of each training row by a fit on the other inner folds, shape [n].

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

    def __init__(self, products: int = 256, seed: int = 0) -> None:
        self.products = products
        self.seed = seed

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        center = float(np.average(y, weights=weight))
        fold = inner_folds(text_ids(x, text_id), INNER_FOLDS, self.seed)
        self.held_out_ = np.full(len(y), center)
        self.penalty_ = Penalty()  # of a single text: nothing can be held out, and only readers can differ
        if fold is not None:
            out = [fold == k for k in range(int(fold.max()) + 1)]
            designs = [BilinearDesign.of(x[~rows], w[~rows], weight[~rows], self.products) for rows in out]
            splits = [self._split(d, x, w, y - center, weight, rows) for d, rows in zip(designs, out, strict=True)]
            self.penalty_, _ = choose_penalty(splits)
            for design, split, rows in zip(designs, splits, out, strict=True):
                function = design.function(split.solve(self.penalty_))
                self.held_out_[rows] += function.predict(x[rows], w[rows])
            if not _better(y, self.held_out_, center, weight, text_ids(x, text_id)):
                self.penalty_ = NOTHING
                self.held_out_[:] = center
        design = BilinearDesign.of(x, w, weight, self.products)
        everything = Moments.of(design.matrix(x, w), y - center, weight)
        coefficients = everything.solve(self.penalty_.vector(design.block, design.variance))
        coefficients[0] += center
        self.function_ = design.function(coefficients)
        return self

    @staticmethod
    def _split(design: BilinearDesign, x: Array, w: Array, y: Float64, weight: Float64, out: Array) -> Split:
        z = design.matrix(x, w)
        fitted, left_out = (Moments.of(z[rows], y[rows], weight[rows]) for rows in (~out, out))
        return Split(fitted, left_out, design.block, design.variance)

    def predict(self, x: Array, w: Array) -> Float64:
        return self.function_.predict(x, w)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return self.function_.marginal(x, w_reference, weight_reference)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        return self.function_.reader_response(x_draws, w)


def _better(y: Float64, held_out: Float64, center: float, weight: Float64, text_id: Int64) -> bool:
    """Say whether held-out loss is below that of the mean by a standard error, clustered by text.

    The smallest of many losses is small by chance as well: what is not below the mean's by more is noise.
    """
    scale = float(np.sqrt(np.average((y - center) ** 2, weights=weight))) or 1.0
    gain = weight * (((y - center) / scale) ** 2 - ((y - held_out) / scale) ** 2)
    by_text = np.bincount(np.unique(text_id, return_inverse=True)[1], weights=gain)
    return bool(by_text.sum() > np.sqrt(np.sum((by_text - by_text.mean()) ** 2)))
