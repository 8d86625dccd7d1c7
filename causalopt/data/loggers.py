"""Logs of several policies: the mixture of the policies that wrote the texts is the behavior policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from causalopt.errors import DataError
from causalopt.typing import Float64, Int64

ROWS_PER_LOGGER = 5.0
"""Mean number of rows for each logger and prompt from which the loggers' shares are taken prompt by prompt."""


def own_log_prob(label: Sequence[str], log_prob: pd.DataFrame) -> Float64:
    """Entry of each row in the column that its label names, shape [n]."""
    position = log_prob.columns.get_indexer(pd.Index(label))
    return np.asarray(log_prob.to_numpy()[np.arange(len(label)), position], dtype=np.float64)


def check_loggers(
    logger: Sequence[str], loggers: pd.DataFrame, row: Int64, column: str, source: str, role: str = "loggers"
) -> None:
    """Raise `DataError` if a row's own logger has no log-probability, or says that it never writes the row's text.

    Parameters
    ----------
    logger:
        Name of the logger of each row, n of them.
    loggers:
        log q_l(x_i | c_i), shape [n, L], nats, with the names of the loggers as columns; -inf for a text that a logger
        never writes.
    row:
        Position of each row in the source, from 0, for the message.
    column, source, role:
        Names of the column of ``logger``, of the table, and of the role of ``loggers``, for the message.
    """
    known = list(loggers.columns)
    position = loggers.columns.get_indexer(pd.Index(logger))
    if (position < 0).any():
        i = int(np.argmax(position < 0))
        raise DataError(
            f"{source}: column {column!r}, row {row[i] + 1} is {logger[i]!r}: data.{role} has no column of "
            f"log-probabilities for it; it has: {', '.join(known)}"
        )
    own = own_log_prob(logger, loggers)
    if np.isneginf(own).any():
        i = int(np.argmax(np.isneginf(own)))
        raise DataError(
            f"{source}: column {column!r}, row {row[i] + 1} is {logger[i]!r}, under which its log-probability is -inf "
            f"(data.{role}): correct the label, or the log-probabilities"
        )


def mixture_log_prob(
    logger: Sequence[str], loggers: pd.DataFrame, weight: Float64, prompts: Sequence[str] | None = None
) -> Float64:
    """Log-density of the logged texts when several policies wrote them, shape [n], nats.

    With pi_l the share of logger l in the exposure, log q(x | c) = log sum_l pi_l q_l(x | c). Ratios to the mixture are
    unbiased, as are those to each row's own logger, and never larger than those to a single logger over its share: a
    text that its own logger rarely writes has a small ratio if another one writes it often.

    The shares are those of all rows: the logger of a row is then assumed to be independent of its prompt, as when the
    traffic is divided at random. If prompts repeat so often that there are five rows or more for each logger and
    prompt, the shares are those among the rows of the prompt, which needs no such assumption. In both cases readers
    and responses must not depend on the logger except through the text (given the prompt): where readers differ between
    loggers, this is adjusted for as any other confounding is, by covariates.

    Parameters
    ----------
    logger, loggers:
        See `check_loggers`.
    weight:
        Exposure of each row, shape [n].
    prompts:
        The prompt of each row, or None.

    Returns
    -------
    Float64
        Shape [n].

    Notes
    -----
    The balance heuristic of Veach and Guibas (1995), "Optimally combining sampling techniques for Monte Carlo
    rendering", section 4; for logged feedback Agarwal, Basu, Schnabel and Joachims (2017), "Effective evaluation using
    logged bandit feedback from multiple loggers", equation 4. Given the loggers of a prompt's rows, the mean ratio to
    the mixture with that prompt's shares is exactly unbiased, whatever assigned the loggers to prompts.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from causalopt.data.loggers import mixture_log_prob
    >>> loggers = pd.DataFrame(np.log([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]), columns=["a", "b"])
    >>> np.exp(mixture_log_prob(["a", "a", "a", "b"], loggers, np.ones(4))).round(3).tolist()
    [0.7, 0.7, 0.3, 0.3]
    """
    position = loggers.columns.get_indexer(pd.Index(logger))
    count = loggers.shape[1]
    cell = np.zeros(len(logger), dtype=np.int64)
    if prompts is not None:
        prompt = pd.factorize(pd.Series(list(prompts), dtype=object))[0]
        if len(logger) >= ROWS_PER_LOGGER * len(np.unique(position)) * (prompt.max() + 1):
            cell = prompt.astype(np.int64)
    exposure = np.bincount(cell * count + position, weights=weight, minlength=(cell.max() + 1) * count)
    exposure = exposure.reshape(-1, count)
    with np.errstate(divide="ignore"):  # a logger without rows has no part in the mixture
        log_share = np.log(exposure) - np.log(exposure.sum(axis=1, keepdims=True))
    return np.asarray(np.logaddexp.reduce(log_share[cell] + loggers.to_numpy(), axis=1), dtype=np.float64)
