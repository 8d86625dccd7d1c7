"""Selection of the assignment model by held-out loss."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from causalopt.data.folds import inner_folds, text_ids
from causalopt.errors import CausalOptWarning
from causalopt.nuisance import models
from causalopt.nuisance.assignment.arms import Arms, ArmsAssignment
from causalopt.nuisance.assignment.classifier import ClassifierAssignment
from causalopt.nuisance.assignment.gaussian import GaussianAssignment
from causalopt.nuisance.contracts import AssignmentModel
from causalopt.nuisance.diagnostics import reassigned_pairs
from causalopt.typing import Array, Float64, Int64

MOST_ARMS = 20
ROWS_PER_ARM = 20
"""Texts are treated as arms if there are at most this many, and each was read at least this often."""
CLASSIFIER_ROWS = 500
"""Smallest number of rows for the classifier: with fewer it has too few pairs to learn a nonlinear dependence."""
COMPARED_ROWS = 1200
"""Largest number of rows in the comparison: a random sample, since the classifier is slow."""
FOLDS = 3


class AutoAssignment(BaseEstimator):  # type: ignore[misc]
    """s(x, w) by the model that predicts held-out pairs of text and reader best.

    The candidates are `GaussianAssignment`; `ArmsAssignment`, if at most 20 texts were each read 20 times or more;
    and `ClassifierAssignment`, with 500 rows or more (with prompts, rows of prompts that occur at least twice). Each is
    fitted on two thirds of at most 1,200 rows (and 20 of every arm), and scored on the others by the logistic loss of
    separating real pairs (x, w) from randomly reassigned ones, with log-odds -log s (`discrimination_loss`). Arms have
    a slope for every text, and the classifier is some five times slower: either is chosen only if its loss is smaller
    than the Gaussian model's by a standard error, over texts, or over rows if there are arms. If the covariates carry
    no information about the text, the candidates' own shrinkage gives s = 1. With prompts the rows are the residuals of
    text and reader given the prompt (`GivenPrompt`), and ``prompt_id`` keeps reassigned readers within their prompt.

    Parameters
    ----------
    seed:
        Seed of the sample, the folds and the random pairs.

    Attributes
    ----------
    chosen_:
        "gaussian", "arms" or "classifier".
    losses_:
        Held-out loss of each candidate, nats; empty if the Gaussian model is the only one.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.assignment.auto import AutoAssignment
    >>> rng = np.random.default_rng(0)
    >>> w = rng.choice([-1.0, 0.0, 1.0], size=(450, 1))
    >>> bend = rng.random(450) < np.where(w[:, 0] == 0, 0.8, 0.1)  # no line orders who was shown the second text
    >>> text = np.where(bend, 1, 2 * rng.integers(0, 2, 450))
    >>> AutoAssignment().fit(np.array([[0.0], [0.1], [1.0]])[text], w, np.ones(450)).chosen_
    'arms'
    """

    takes_float32 = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(
        self, x: Array, w: Array, weight: Float64, text_id: Int64 | None = None, prompt_id: Int64 | None = None
    ) -> Self:
        text = text_ids(x, text_id)
        self.gaussian_ = GaussianAssignment(seed=self.seed).fit(x, w, weight, text)
        rows = (x, w, weight, text, prompt_id)
        used = weight > 0
        if not used.all():
            rows = (x[used], w[used], weight[used], text[used], None if prompt_id is None else prompt_id[used])
        self.chosen_, self.losses_ = self._choose(*rows)
        self.challenger_: AssignmentModel | None = None
        if self.chosen_ != "gaussian":
            self.challenger_ = models.fit_assignment(self._challenger(self.chosen_, self.gaussian_), *rows)
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        chosen = self.challenger_ or self.gaussian_
        if isinstance(chosen, ArmsAssignment) and not chosen.arms_.known(x).all():
            chosen = self.gaussian_  # with folds by text, a text that was shown to none of these readers is not an arm
        return chosen.stabilized_weight(x, w)

    def _challenger(self, name: str, gaussian: GaussianAssignment) -> Any:
        """Return an unfitted candidate; ``gaussian`` is fitted on the rows that the candidate will be fitted on."""
        if name == "arms":
            return ArmsAssignment(seed=self.seed)
        return ClassifierAssignment(seed=self.seed, gaussian=gaussian)

    def _choose(
        self, x: Array, w: Array, weight: Float64, text: Int64, prompt: Int64 | None
    ) -> tuple[str, dict[str, float]]:
        challengers = _challengers(x, w, text, prompt)
        if not challengers:
            return "gaussian", {}
        kept = _sample(text, "arms" in challengers, self.seed)
        x, w, weight, text = x[kept], w[kept], weight[kept], text[kept]
        prompt = None if prompt is None else prompt[kept]
        # The weights are for new texts, so folds are by text; but with arms, every text must be in training.
        unit = np.arange(len(x)) if "arms" in challengers else text
        fold = inner_folds(unit, FOLDS, self.seed)
        if fold is None:
            return "gaussian", {}
        train, test = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
        reassigned, reader = reassigned_pairs(
            len(test), np.random.default_rng(self.seed), prompt_id=None if prompt is None else prompt[test]
        )
        together = weight[test][reassigned] * weight[test][reader]
        losses = {}
        rows = x[train], w[train], weight[train], text[train], None if prompt is None else prompt[train]
        with warnings.catch_warnings():  # warnings are issued when the model is fitted on all rows
            warnings.simplefilter("ignore", CausalOptWarning)
            gaussian = GaussianAssignment(seed=self.seed).fit(*rows[:4])
            candidates: dict[str, AssignmentModel] = {"gaussian": gaussian}
            for name in challengers:
                candidates[name] = models.fit_assignment(self._challenger(name, gaussian), *rows)
        for name, fitted in candidates.items():
            real = np.log(fitted.stabilized_weight(x[test], w[test]))
            other = np.log(fitted.stabilized_weight(x[test][reassigned], w[test][reader]))
            losses[name] = _loss_by_row(real, other, weight[test], together, reassigned)
        better = {
            name: losses[name].sum()
            for name in challengers
            if _clearly_below(losses[name] - losses["gaussian"], unit[test])
        }
        chosen = min(better, key=lambda name: better[name], default="gaussian")
        return chosen, {name: float(loss.sum()) for name, loss in losses.items()}


def _challengers(x: Array, w: Array, text: Int64, prompt: Int64 | None) -> list[str]:
    """Names of the candidates other than the Gaussian model."""
    found = []
    counts = np.unique(text, return_counts=True)[1]
    several = 2 <= len(counts) <= MOST_ARMS and counts.min() >= ROWS_PER_ARM
    if several and Arms.of(x, MOST_ARMS).count > 1:  # texts without a known word have equal embeddings
        found.append("arms")
    # The residuals of a text and of its reader after a regression on the prompt still reveal the prompt. With prompts
    # that occur once, a classifier mistakes this for a dependence; a model that is linear in x and w does not.
    comparable = len(x) if prompt is None else int(np.sum(pd.Series(prompt).duplicated(keep=False)))
    if comparable >= CLASSIFIER_ROWS and w.shape[1]:
        found.append("classifier")
    return found


def _sample(text: Int64, arms: bool, seed: int) -> Int64:
    """Positions of the rows that candidates are compared on, with enough rows of every text if texts are arms."""
    order = np.random.default_rng(seed).permutation(len(text))
    kept = np.arange(len(text)) < COMPARED_ROWS
    if arms:
        kept |= pd.Series(order).groupby(text[order]).cumcount().to_numpy() < ROWS_PER_ARM
    return np.asarray(order[kept])


def _clearly_below(excess: Float64, unit: Int64) -> bool:
    """Whether a difference of two losses, shape [n], is below zero by a standard error, clustered by unit."""
    sums = np.bincount(np.unique(unit, return_inverse=True)[1], weights=excess)
    return bool(sums.sum() < -np.sqrt(np.sum((sums - sums.mean()) ** 2)))


def _loss_by_row(real: Float64, other: Float64, weight: Float64, together: Float64, reassigned: Int64) -> Float64:
    """Share of each row in the logistic loss, shape [n], nats; see `discrimination_loss`."""
    losses = weight / weight.sum() * np.logaddexp(0, real)
    share = together / together.sum()
    losses += np.bincount(reassigned, weights=share * np.logaddexp(0, -other), minlength=len(real))
    return np.asarray(losses / 2)
