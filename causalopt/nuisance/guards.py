"""Checks whether a cross-fitted nuisance is usable, and the replacement for one that is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.typing import Array, Float64, Int64

ERRORS = 2.0
"""Clustered standard errors by which a held-out loss may exceed that of the mean."""
NEGLIGIBLE = 0.02
"""Excess loss, as a share of the mean's loss, that is too small to matter."""
REACH = 0.5
"""Share of the training outcomes' range by which a prediction may leave the range."""
MEAN_WEIGHT = (0.8, 1.25)
"""Range of the mean of the stabilized weights, which is 1 for correct weights."""
FEWEST_ROWS = 10.0
"""Smallest effective number of rows under the weights (or half of the rows, if there are few)."""
MOST_CUT = 0.5
"""Largest share of the weights' total that truncation may cut."""
SMALLEST = 1e-12
"""Smallest likelihood of a row in a log loss, so that the loss of a wrong certainty is large and finite."""
UNFIT = (np.linalg.LinAlgError, ArithmeticError)
"""Exceptions that mean that a model cannot be fitted to these data; any other is a programming error, and is raised."""


@dataclass(frozen=True)
class Failure:
    """A nuisance that was not used.

    The mean replaces an outcome model and the overall rate an observation model; an assignment model's correction is
    omitted.

    Attributes
    ----------
    nuisance:
        "outcome model", "assignment model" or "observation model".
    model:
        Name of the model.
    reason:
        Reason in words.
    """

    nuisance: str
    model: str
    reason: str

    def __str__(self) -> str:
        if self.nuisance == "outcome model":
            instead = "the mean outcome of the training rows replaces its predictions"
        elif self.nuisance == "observation model":
            instead = (
                "one rate of response for everybody replaces its predictions, and values rely on the outcome model for "
                "how those who respond differ from those who do not"
            )
        else:
            instead = "there is no correction for who was shown what, and values rely on the outcome model alone"
        return f"{self.nuisance} {self.model}: {self.reason}; {instead}"


class MeanOutcome:
    """E[Y | x, w] as the weighted mean of the training outcomes.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.guards import MeanOutcome
    >>> x, w = np.zeros((2, 1)), np.zeros((2, 0))
    >>> MeanOutcome().fit(x, w, np.array([1.0, 2.0]), np.array([1.0, 3.0])).predict(x, w)
    array([1.75, 1.75])
    """

    takes_float32 = True

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        self.mean_ = float(np.average(y, weights=weight))
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return np.full(len(x), self.mean_)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return np.full(len(x), self.mean_)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        return np.full(len(w), self.mean_)


def wild(predictions: Float64, y: Float64) -> str | None:
    """Return a reason if predictions are not finite, or leave the training outcomes' range by more than half of it."""
    if not np.isfinite(predictions).all():
        return f"{int((~np.isfinite(predictions)).sum())} of its predictions are not finite"
    low, high = float(y.min()), float(y.max())
    beyond = max(low - float(predictions.min()), float(predictions.max()) - high)
    if beyond <= REACH * (high - low) + 1e-9 * max(abs(low), abs(high)):
        return None
    return (
        f"its predictions reach {predictions.min():.3g} and {predictions.max():.3g}, far outside the outcomes that it "
        f"was fitted on ({low:.3g} to {high:.3g})"
    )


def worse_than_mean(y: Float64, m: Float64, mean: Float64, weight: Float64, group: Int64) -> str | None:
    """Return a reason if held-out squared loss exceeds that of the mean by more than two standard errors.

    Parameters
    ----------
    y, m, mean, weight:
        Outcomes, held-out predictions, means of the training outcomes and exposure, shape [n].
    group:
        Clusters of the standard error, shape [n].

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.guards import worse_than_mean
    >>> y, zero, one = np.array([-1.0, 1.0] * 20), np.zeros(40), np.ones(40)
    >>> worse_than_mean(y, 0.1 * y, zero, one, np.arange(40)) is None
    True
    >>> worse_than_mean(y, -y, zero, one, np.arange(40))
    'its held-out loss is 4 times that of the mean outcome'
    """
    share = weight / weight.sum()
    # In units of the outcome's spread: fourth powers are then within float64 for any valid outcome.
    scale = float(np.sqrt(share @ (y - mean) ** 2)) or 1.0
    excess = ((y - m) / scale) ** 2 - ((y - mean) / scale) ** 2
    above = float(share @ excess)
    if not _clearly_positive(excess, share, group):
        return None
    return f"its held-out loss is {1 + above:.3g} times that of the mean outcome"


def worse_than_rate(observed: Array, pi: Float64, rate: Float64, weight: Float64, group: Int64) -> str | None:
    """Return a reason if held-out log loss exceeds that of the overall rate by more than two standard errors.

    Parameters
    ----------
    observed, pi, rate:
        Whether each outcome was observed, its held-out probability, and the rate of the training rows, shape [n].
    weight, group:
        As in `worse_than_mean`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.guards import worse_than_rate
    >>> observed, half = np.arange(40) % 2 == 0, np.full(40, 0.5)
    >>> worse_than_rate(observed, np.where(observed, 0.6, 0.4), half, np.ones(40), np.arange(40)) is None
    True
    >>> worse_than_rate(observed, np.where(observed, 0.1, 0.9), half, np.ones(40), np.arange(40))
    'its held-out log loss is 3.32 times that of one rate for everybody'
    """
    share = weight / weight.sum()
    own, constant = log_losses(observed, pi), log_losses(observed, rate)
    null = float(share @ constant)
    if null == 0 or not _clearly_positive((own - constant) / null, share, group):
        return None
    return f"its held-out log loss is {float(share @ own) / null:.3g} times that of one rate for everybody"


def log_losses(observed: Array, pi: Float64) -> Float64:
    """Negative log-likelihood of each row, shape [n], nats; finite also where a probability is 0 or 1."""
    likelihood = np.where(observed, pi, 1 - pi)
    return np.asarray(-np.log(np.maximum(likelihood, SMALLEST)), dtype=np.float64)


def _clearly_positive(excess: Float64, share: Float64, group: Int64) -> bool:
    """Whether a mean excess loss is above two clustered standard errors, and not negligible."""
    above = float(share @ excess)
    by_group = np.bincount(np.unique(group, return_inverse=True)[1], weights=share * (excess - above))
    groups = len(by_group)
    if groups < 2:
        return False
    return bool(above > max(NEGLIGIBLE, ERRORS * float(np.sqrt(groups / (groups - 1) * np.sum(by_group**2)))))


def collapsed(s: Float64, weight: Float64, max_weight: float) -> str | None:
    """Return a reason if stabilized weights, before truncation, cannot be those of any assignment.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.guards import collapsed
    >>> collapsed(np.array([0.5, 1.5] * 20), np.ones(40), 20.0) is None
    True
    >>> collapsed(np.array([0.5] * 40), np.ones(40), 20.0)
    'the mean of its weights is 0.5, but should be 1'
    """
    if not np.isfinite(s).all() or (s <= 0).any():
        bad = int((~np.isfinite(s) | (s <= 0)).sum())
        return f"{bad} of its {len(s)} weights are not positive and finite"
    share = weight / weight.sum()
    kept = np.minimum(s, max_weight)
    mean = float(share @ kept)
    cut = 1 - mean / float(share @ s)
    if cut > MOST_CUT:
        return f"{100 * cut:.0f}% of the mass of its weights is above {max_weight:g} (the largest is {s.max():.3g})"
    if not MEAN_WEIGHT[0] <= mean <= MEAN_WEIGHT[1]:
        return f"the mean of its weights is {mean:.3g}, but should be 1"
    size = float((share @ kept) ** 2 / np.sum((share * kept) ** 2))
    fewest = min(FEWEST_ROWS, float(1 / np.sum(share**2)) / 2)
    if size < fewest:
        return f"{len(s)} rows count as {size:.1f} under its weights"
    return None
