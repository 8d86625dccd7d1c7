"""Which assignment model describes who was shown what: one held-out loss decides."""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np

from causalopt.errors import CausalOptWarning
from causalopt.nuisance import models
from causalopt.nuisance.arms import ArmsAssignment
from causalopt.nuisance.coded import Arms
from causalopt.nuisance.folds import group_folds, text_ids
from causalopt.nuisance.gaussian import GaussianAssignment
from causalopt.nuisance.scoring import deal
from causalopt.typing import Array, Float64, Int64

MOST_ARMS = 20
ROWS_PER_ARM = 20
"""Texts are arms where they are no more than this, and each was read at least so often."""
FOLDS = 3


class AutoAssignment:
    """s(x, w) by the model that foresees held-out pairs of text and reader best.

    The candidates are `ArmsAssignment`, where at most 20 texts were each read 20 times or more, and
    `GaussianAssignment`. Fitted on two thirds of the rows, each is scored on the others by the logistic loss of telling
    real pairs (x, w) from dealt ones, with log-odds -log s (see `scoring`). Arms have a slope for every text, and are
    taken where their loss is smaller by a standard error. Covariates that tell nothing of the text leave s = 1 by the
    candidates' own shrinkage. With prompts the rows are what is left of text and reader given the prompt
    (`GivenPrompt`). `ClassifierAssignment`, some five times slower than the Gaussian model, is compared where it is
    named: a list of models takes the one with the smallest held-out loss.

    Parameters
    ----------
    seed:
        Of the folds and the deals.

    Attributes
    ----------
    chosen_:
        "arms" or "gaussian".

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.auto import AutoAssignment
    >>> rng = np.random.default_rng(0)
    >>> w = rng.choice([0.0, 1.0], size=(2000, 1))
    >>> arm = (rng.random((2000, 1)) < 0.3 + 0.4 * w).astype(float)
    >>> AutoAssignment().fit(arm, w, np.ones(2000)).chosen_
    'arms'
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, x: Array, w: Array, weight: Float64, text_id: Int64 | None = None) -> Self:
        text = text_ids(x, text_id)
        self.gaussian_ = GaussianAssignment(seed=self.seed).fit(x, w, weight, text)
        self.chosen_ = "gaussian"
        used = weight > 0
        counts = np.unique(text[used], return_counts=True)[1]
        several = 2 <= len(counts) <= MOST_ARMS and counts.min() >= ROWS_PER_ARM
        if several and Arms.of(x[used], MOST_ARMS).count > 1:  # texts without a known word are one to the embedding
            self.chosen_ = self._choose(x[used], w[used], weight[used], text[used])
        if self.chosen_ == "arms":
            self.arms_ = ArmsAssignment(seed=self.seed).fit(x[used], w[used], weight[used])
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        # A text that none of these readers was shown, as in folds by text, is no arm.
        if self.chosen_ == "arms" and self.arms_.arms_.known(x).all():
            return self.arms_.stabilized_weight(x, w)
        return self.gaussian_.stabilized_weight(x, w)

    def _choose(self, x: Array, w: Array, weight: Float64, text: Int64) -> str:
        fold = group_folds(np.arange(len(x)), FOLDS, self.seed)
        train, test = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
        dealt, reader = deal(len(test), np.random.default_rng(self.seed))
        together = weight[test][dealt] * weight[test][reader]
        losses = []
        for model in (ArmsAssignment(seed=self.seed), GaussianAssignment(seed=self.seed)):
            with warnings.catch_warnings():  # what a fit has to say, it says when it is fitted on all rows
                warnings.simplefilter("ignore", CausalOptWarning)
                fitted = models.fit_assignment(model, x[train], w[train], weight[train], text[train])
            real = np.log(fitted.stabilized_weight(x[test], w[test]))
            other = np.log(fitted.stabilized_weight(x[test][dealt], w[test][reader]))
            losses.append(_loss_by_row(real, other, weight[test], together, dealt))
        excess = losses[0] - losses[1]
        return "arms" if excess.sum() < -np.sqrt(np.sum((excess - excess.mean()) ** 2)) else "gaussian"


def _loss_by_row(real: Float64, other: Float64, weight: Float64, together: Float64, dealt: Int64) -> Float64:
    """Share of each row in the logistic loss, shape [n], nats; see `discrimination_loss`."""
    losses = weight / weight.sum() * np.logaddexp(0, real)
    share = together / together.sum()
    losses += np.bincount(dealt, weights=share * np.logaddexp(0, -other), minlength=len(real))
    return np.asarray(losses / 2)
