"""Weights from the log-probabilities that a system logged for its own choices, without a model."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from causalopt.arrays import as_vector
from causalopt.errors import ConfigError, DataError
from causalopt.typing import Array, Float64

LARGEST = 300.0
"""Nats at which a log-weight is cut, so that sums of weights stay finite."""
ROWS_PER_TEXT = 5.0
"""Smallest mean number of rows per text for which the marginal is estimated from the rows themselves."""


class LoggedAssignment:
    """s(x, w) = p(x) / p(x | w) from logged log-probabilities.

    It takes its weights from columns of the data set, which `PseudoOutcomeEstimator` passes, and not from arrays.
    """

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        """Raise `ConfigError`: arrays hold no log-probabilities."""
        raise ConfigError(
            "assignment model 'logged' reads its weights from a data set's columns; with arrays, pass them as s="
        )

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        """See `fit`."""
        return self.fit(x, w, np.ones(len(x))).stabilized_weight(x, w)

    def weights(
        self, assignment_log_prob: Any, behavior_log_prob: Any = None, *, text: Any = None, weight: Any = None
    ) -> Float64:
        """Stabilized weights of logged rows.

        Parameters
        ----------
        assignment_log_prob:
            log p(x_i | w_i), shape [n], nats.
        behavior_log_prob:
            log p(x_i), shape [n], nats: the log-probability of the text over all readers. None estimates it from the
            rows: since E[1 / p(x|w) | x] = 1 / p(x), it is the harmonic mean of p(x | w) over the rows of a text.
        text:
            Codes [n] of equal texts, needed if ``behavior_log_prob`` is None.
        weight:
            Exposure of each row, shape [n], or None for ones.

        Raises
        ------
        DataError
            If p(x) is neither logged nor can be estimated from the rows, because texts have too few of them.

        Examples
        --------
        >>> import numpy as np
        >>> from causalopt.nuisance.assignment.logged import LoggedAssignment
        >>> LoggedAssignment().weights(np.log([0.5, 0.1]), np.log([0.25, 0.25]))
        array([0.5, 2.5])
        """
        conditional = as_vector("assignment_log_prob", assignment_log_prob)
        n = len(conditional)
        if behavior_log_prob is not None:
            marginal = as_vector("behavior_log_prob", behavior_log_prob, n)
            return np.asarray(np.exp(np.clip(marginal - conditional, -LARGEST, LARGEST)))
        codes = np.zeros(n, dtype=np.int64) if text is None else np.unique(np.asarray(text), return_inverse=True)[1]
        texts = int(codes.max()) + 1
        if text is None or n / texts < ROWS_PER_TEXT:
            raise DataError(
                f"assignment model 'logged' needs log p(x), the log-probability of a text over all readers: name a "
                f"column behavior_log_prob ({n} rows of {texts} texts are too few to take it from the rows), or fit a "
                "model in its place, such as gaussian"
            )
        share = np.ones(n) if weight is None else as_vector("weight", weight, n, below=np.inf)
        # In log space, relative to the largest term of each text.
        top = np.full(texts, -np.inf)
        np.maximum.at(top, codes, -conditional)
        inverse = np.bincount(codes, weights=share * np.exp(-conditional - top[codes]))
        log_inverse = top + np.log(inverse) - np.log(np.bincount(codes, weights=share))
        return np.asarray(np.exp(np.clip(-log_inverse[codes] - conditional, -LARGEST, LARGEST)))
