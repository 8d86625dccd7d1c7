"""The scores of `adaptive_dr` for two policies that are compared, from nuisances fitted forward in time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from causalopt.data.clustering import codes_of
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import MissingPartError
from causalopt.estimators.adaptive import adaptive_dr, latest_second_moment, stable_weights
from causalopt.estimators.dm import PlugIn
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.policies import MOST_PAIRS, Draws, LoggedPolicy, Subject
from causalopt.nuisance import models
from causalopt.nuisance.contracts import OutcomeModel
from causalopt.nuisance.forward_fitting import ForwardFit, fit_forward
from causalopt.nuisance.rows import Rows
from causalopt.pseudo_outcome import FittedNuisances, PseudoOutcomes
from causalopt.typing import Array, Float64, Int64

LARGEST = 300.0
"""Nats at which a propensity is cut: a text that cannot be shown gives its row next to no weight."""

ROWS_PER_TEXT = 20.0
"""Mean number of rows for each text of the policies from which second moments are predicted."""


@dataclass(frozen=True, eq=False)
class AdaptiveScores:
    """Inputs of `adaptive_dr` for one policy, each of shape [n]; ``draws`` as in `Estimate`."""

    log_ratio: Float64
    residual: Float64
    plug_in: Float64
    h: Float64
    draws: Mapping[str, Float64]

    def estimate(self, weight: Float64) -> Estimate:
        """Apply the estimator, and add the Monte Carlo error of texts that were drawn for all rows."""
        found = adaptive_dr(self.log_ratio, self.residual, self.plug_in, self.h, weight=weight)
        return Estimate(
            found.value,
            found.influence,
            draws=self.draws,
            estimator=found.estimator,
            details=found.details,
            deletions=found.deletions,
        )


def propensity(data: DirectOutcomeDataset) -> Float64 | None:
    """Log-probability with which each text was chosen for its reader at its time, shape [n], nats; or None.

    It is ``assignment_log_prob``, if texts were chosen by reader, else the logged log-probability of the text.
    """
    return data.logged_log_prob if data.assignment_log_prob is None else data.assignment_log_prob


def adaptive_scores(
    pseudo: PseudoOutcomes,
    subjects: Mapping[str, Subject],
    drawn: Mapping[str, Draws | None],
    seed: int,
    fit: ForwardFit | None = None,
) -> dict[str, AdaptiveScores]:
    """Score the rows under a policy and its reference, with weights h that both share.

    The weights stabilise the variance of the *difference* of the two: shared weights make the difference of the values
    equal to the weighted mean of the rows' differences. The value of the texts as logged is the plain mean of outcomes:
    the policy behind it changed from row to row.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the rows, whose outcome model is fitted anew, forward in time.
    subjects, drawn:
        "policy" and "reference", and their texts.
    seed:
        Seed of averages over texts.
    fit:
        From `forward_fit`, to be used for several comparisons.

    Raises
    ------
    MissingPartError
        If the logs are not adaptive, or propensities, texts of a policy or models are missing.
    DataError
        If the rows are too few.
    """
    data = pseudo.dataset
    chosen = propensity(data)
    if not data.adaptive or data.time is None:
        raise MissingPartError("it is for adaptive logs: set data.adaptive, and name the column data.time")
    if chosen is None:
        raise MissingPartError("it needs the logged probability of each choice (data.behavior_log_prob)")
    if data.observed is not None:
        raise MissingPartError("it needs an outcome in every row, and some were not observed")
    fit = forward_fit(pseudo) if fit is None else fit
    fitted = pseudo.fitted()
    rows = _rows(pseudo, fitted)
    residual = data.outcome - fit.m
    ratios, plug_ins = {}, {}
    for who, subject in subjects.items():
        if isinstance(subject, LoggedPolicy):
            continue
        log_prob, texts = subject.log_prob(data), drawn[who]
        if log_prob is None or texts is None:
            raise MissingPartError("it needs log-probabilities of the logged texts under the policy, and its own texts")
        ratios[who] = log_prob - chosen
        plug_ins[who] = _plug_in(fit, rows, texts, fitted, seed)
    h = np.where(data.time > data.time.min(), stable_weights(_second_moment(data, drawn, ratios)), 0.0)
    found = {}
    for who in subjects:
        if who in ratios:
            mean, draws = plug_ins[who]
            found[who] = AdaptiveScores(ratios[who], residual, mean, h, draws)
        else:
            nothing = np.zeros(len(data))
            found[who] = AdaptiveScores(nothing, residual, fit.m, nothing + 1, {})
    return found


def forward_fit(pseudo: PseudoOutcomes) -> ForwardFit:
    """Fit the outcome model of the pseudo-outcomes anew, forward in time.

    Raises
    ------
    MissingPartError
        If the rows have no times, or m and g came from outside.
    """
    outcome = None if pseudo.models is None else pseudo.models.cross_fit.models[0][0].outcome
    if pseudo.models is None or outcome is None:
        raise MissingPartError("it fits the outcome model forward in time, and m and g came from outside")
    if pseudo.dataset.time is None:
        raise MissingPartError("it fits the outcome model forward in time, and the rows have no times (data.time)")
    return fit_forward(_rows(pseudo, pseudo.models), pseudo.dataset.time, outcome)


def _second_moment(data: DirectOutcomeDataset, drawn: Mapping[str, Draws | None], scored: Collection[str]) -> Float64:
    """E_t[rho_t^2] of the policy, or of policy minus reference, shape [n].

    It is exact where the probabilities of all texts are known, and else predicted from the latest propensities of the
    chosen ones, if texts have `ROWS_PER_TEXT` rows on average. With fewer, or for policies that write any text, it is
    taken to be constant: predictions made estimates vary more there.
    """
    share: dict[str, float] = {}
    for who, sign in (("policy", 1.0), ("reference", -1.0)):
        texts = drawn[who]
        if who not in scored or texts is None:
            continue
        if texts.support is None:
            return np.ones(len(data))
        for text, part in zip(*texts.support, strict=True):
            share[text] = share.get(text, 0.0) + sign * float(part)
    size = np.abs(np.array(list(share.values())))
    if data.propensities is not None and set(share) <= set(data.propensities.columns):
        log_e = data.propensities[list(share)].to_numpy(dtype=np.float64)
        with np.errstate(divide="ignore"):  # texts on which the policies agree
            log_square = 2 * np.log(size) - np.maximum(log_e, -LARGEST)
        return np.asarray(np.exp(np.minimum(logsumexp(log_square, axis=1), LARGEST)), dtype=np.float64)
    chosen = propensity(data)
    if chosen is None or data.time is None or not share or len(data) < ROWS_PER_TEXT * len(share):
        return np.ones(len(data))
    order = np.argsort(data.time, kind="stable")
    number = {text: k for k, text in enumerate(share)}
    found = np.empty(len(data))
    found[order] = latest_second_moment(size, [number.get(data.texts[i], -1) for i in order], chosen[order])
    # Rows of one time know the same past: that of the first of them.
    first = np.unique(data.time[order], return_index=True)[1]
    return found[order][first][np.unique(data.time, return_inverse=True)[1]]


def _rows(pseudo: PseudoOutcomes, fitted: FittedNuisances) -> Rows:
    data = pseudo.dataset
    x = np.asarray(fitted.embed(data.prompts, data.texts))
    return Rows.of(
        x,
        fitted.cross_fit.w,
        data.outcome,
        data.weight,
        text_id=fitted.index.ids(data.prompts, data.texts),
        prompt_id=None if data.prompts is None else codes_of(data.prompts),
        prompt_columns=0 if data.prompts is None else x.shape[1] // 2,
    )


def _plug_in(
    fit: ForwardFit, rows: Rows, drawn: Draws, fitted: FittedNuisances, seed: int
) -> tuple[Float64, Mapping[str, Float64]]:
    """Mean of each row's model over the policy's texts for the row's reader, [n], and the error of common draws."""
    if drawn.weight is not None:
        raise MissingPartError("it averages over a policy's own texts, and these are weighted")
    n = len(rows)
    found, draws = fit.m.copy(), {}  # of block 0, where the prediction is one number
    row, texts, share = drawn.row, drawn.texts, None
    if rows.prompt_id is None:
        row = None
        if drawn.support is not None and n * len(drawn.support[0]) <= MOST_PAIRS:
            texts, share = drawn.support
        else:
            draws = dict(PlugIn.of(drawn.g, None).draws)
    elif row is None or len(np.unique(row)) < n:
        raise MissingPartError(
            f"with prompts it needs a text of the policy for each of the {n} rows: set evaluation.draws to {n} or more"
        )
    x = np.asarray(fitted.embed(drawn.prompts if row is not None else None, texts))
    text_id = fitted.index.ids(drawn.prompts if row is not None else None, texts)
    for k, model in enumerate(fit.models, start=1):
        now = np.flatnonzero(fit.block == k)
        if row is not None:
            mine = np.flatnonzero(fit.block[row] == k)
            response = models.predict(model, x[mine], rows.w[row[mine]], text_id[mine])
            count = np.bincount(row[mine], minlength=n)
            found[now] = np.bincount(row[mine], weights=response, minlength=n)[now] / count[now]
        elif share is not None:
            found[now] = _over_support(model, x, text_id, share, rows.w[now])
        else:
            found[now] = models.reader_response(model, x, rows.w[now], text_id, seed)
    return found, draws


def _over_support(model: OutcomeModel, x: Array, text_id: Int64, share: Float64, w: Float64) -> Float64:
    """Sum over known texts of their probability times m(x_k, w_i), shape [n]."""
    readers, position = np.unique(w, axis=0, return_inverse=True)
    k, n = len(x), len(readers)
    response = models.predict(model, np.tile(x, (n, 1)), np.repeat(readers, k, axis=0), np.tile(text_id, n))
    return np.asarray((response.reshape(n, k) @ share)[position.reshape(-1)], dtype=np.float64)
