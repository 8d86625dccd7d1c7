"""Candidates for a nuisance, each cross-fitted over the same folds, and the choice among them by held-out loss.

Each function fits some ``repeats`` alone, and leaves the arrays and models of the others empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from causalopt.errors import DataError
from causalopt.nuisance import models
from causalopt.nuisance.assignment.randomized import RandomizedAssignment
from causalopt.nuisance.contracts import AssignmentModel, ObservationModel, OutcomeModel
from causalopt.nuisance.diagnostics import REASSIGNED, discrimination_loss, reassigned_pairs, squared_loss
from causalopt.nuisance.fitted import distinct
from causalopt.nuisance.given_prompt import GivenPrompt
from causalopt.nuisance.guards import (
    UNFIT,
    Failure,
    MeanOutcome,
    collapsed,
    log_losses,
    wild,
    worse_than_mean,
    worse_than_rate,
)
from causalopt.nuisance.observation.constant import ConstantObservation
from causalopt.nuisance.outcome.averaging import distinct_rows
from causalopt.nuisance.outcome.trees import ZeroOutcome
from causalopt.nuisance.rows import Rows
from causalopt.progress import track
from causalopt.typing import Array, Float64, Int64

Model = TypeVar("Model")

MOST_REASSIGNED = 200_000
"""Number of reassigned pairs that score an assignment model, at most, unless there are more rows."""
SCORE_COLUMNS = (
    "repeat", "fold", "nuisance", "model", "rows", "loss", "null_loss", "skill", "marginal_error", "chosen",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CandidateFits(Generic[Model]):
    """One candidate, cross-fitted: arrays[j] of shape [repeats, n], models[repeat][fold], scores."""

    arrays: tuple[Float64, ...]
    models: list[list[Model]]
    scores: pd.DataFrame
    failures: tuple[Failure, ...]


def choose(
    fits: Sequence[CandidateFits[Model]], weight: Float64, labels: Int64, scores: list[pd.DataFrame]
) -> CandidateFits[Model]:
    """Append the scores of all candidates to ``scores``; return the one with the smallest loss that did not fail.

    Losses are averaged over folds by ``weight`` [n], the exposure of the rows that they were computed on.
    """
    exposure = np.array([float(weight[labels[r] == k].sum()) for r, k in _places(labels, range(len(labels)))])
    known = exposure > 0
    losses = [float(np.average(fitted.scores["loss"][known], weights=exposure[known])) for fitted in fits]
    best = min(range(len(fits)), key=lambda i: (bool(fits[i].failures), losses[i]))
    scores.extend(fitted.scores.assign(chosen=i == best) for i, fitted in enumerate(fits))
    return fits[best]


def fit_outcome(
    spec: Any, rows: Rows, labels: Int64, outcome_rows: Rows | None, *, repeats: Sequence[int]
) -> CandidateFits[OutcomeModel]:
    """Cross-fit an outcome model: arrays m and g, the latter a mean over the readers of the other folds.

    The mean outcome replaces a model in a fold where it cannot be fitted or predicts impossible outcomes, and in a
    repeat where it is worse than the mean; both are failures. If ``outcome_rows`` are given, the model is fitted on
    them, without the texts of the held-out fold. Rows without an outcome play no part in the fit and in the losses, but
    their readers do in g.
    """
    name = models.name_of(spec)
    m, g, mean = np.empty(labels.shape), np.empty(labels.shape), np.empty(labels.shape)
    fitted: list[list[OutcomeModel]] = [[] for _ in labels]
    means: list[list[OutcomeModel]] = [[] for _ in labels]
    records, unusable = [], []
    everywhere: OutcomeModel | None = None
    for r, k in track(_places(labels, repeats), f"outcome model {name}"):
        out = labels[r] == k
        train, test = rows[~out], rows[out]
        source = (train if outcome_rows is None else outcome_rows[~np.isin(outcome_rows.group, test.group)]).rated
        if len(source) == 0 or source.weight.sum() <= 0:
            if outcome_rows is not None:
                raise DataError(f"the second data set has no row whose text is outside fold {k}")
            raise DataError(
                f"no row outside fold {k} has an outcome: all {int(rows.has_outcome.sum())} of {len(rows)} rows that "
                "have one are of one fold; more rows with outcomes, or fewer folds, are needed"
            )
        # One fit serves all folds if no row of the second data set is ever held out.
        shared = outcome_rows is not None and not np.isin(outcome_rows.group, rows.group).any()
        constant = MeanOutcome().fit(source.x, source.w, source.y, source.weight)
        mean[r, out] = constant.mean_
        means[r].append(constant)
        try:
            if everywhere is None or not shared:
                everywhere = models.fit_outcome(spec, source)
            model = everywhere
            # m(x_i, w_i) and g(x_i) = mean_k m(x_i, w_k), both from the model of the other folds.
            m[r, out] = models.predict(model, test.x, test.w, test.text_id)
            g[r, out], error = _mean_over_readers(model, test, train, rows, m[r, out])
            # No outcome model is a choice of the user's: nothing was fitted that could fail.
            predicted = np.concatenate([m[r, out], g[r, out]])
            chosen = isinstance(model, ZeroOutcome)
            reason = None if chosen else wild(predicted, source.y[source.weight > 0])
        except UNFIT as exception:
            reason = f"it cannot be fitted ({exception})"
        if reason is not None:
            unusable.append(f"in fold {k}{_of_repeat(r, labels)} {reason}")
            model, m[r, out], g[r, out], error = constant, constant.mean_, constant.mean_, np.zeros(len(test))
        rated = test.rated
        records.append(
            _score(
                (r, k, "outcome", name, len(rated)),
                squared_loss(rated.y, m[r, out][test.has_outcome], rated.weight),
                squared_loss(rated.y, mean[r, out][test.has_outcome], rated.weight),
                float(np.sqrt(np.average(error**2, weights=test.weight))),
            )
        )
        fitted[r].append(model)
    failures = []
    if unusable:
        more = f" (and in {len(unusable) - 1} more folds)" if len(unusable) > 1 else ""
        failures.append(Failure("outcome model", name, unusable[0] + more))
    for r in repeats:
        # No model is a choice, and so is one of other data, which may be wrong here: the correction accounts for that.
        if isinstance(fitted[r][0], ZeroOutcome) or outcome_rows is not None:
            continue
        rated, has = rows.rated, rows.has_outcome
        reason = worse_than_mean(rated.y, m[r, has], mean[r, has], rated.weight, rated.group)
        if reason is not None:
            failures.append(Failure("outcome model", name, reason + _of_repeat(r, labels)))
            m[r], g[r], fitted[r] = mean[r], mean[r], means[r]
    return CandidateFits((m, g), fitted, pd.DataFrame(records), tuple(failures))


def _mean_over_readers(model: OutcomeModel, test: Rows, train: Rows, rows: Rows, m: Float64) -> tuple[Float64, Float64]:
    """Mean of m over readers, shape [test rows], and its Monte Carlo error.

    The mean is over the training readers; with prompts, over all readers of the row's prompt, including its own.
    """
    if test.prompt_id is None or rows.prompt_id is None:
        first, position = distinct(test.text_id)
        readers = distinct_rows(train.w, train.weight)
        mean, error = models.marginal(model, test.x[first], *readers, test.text_id[first])
        return mean[position], error[position]
    mean, error = m.copy(), np.zeros(len(m))  # correct for a prompt that occurs once
    asked = np.bincount(np.unique(rows.prompt_id, return_inverse=True)[1])
    often = np.unique(rows.prompt_id)[asked > 1]
    for prompt in np.intersect1d(often, test.prompt_id):
        here, of_prompt = test.prompt_id == prompt, rows.prompt_id == prompt
        first, position = distinct(test.text_id[here])
        readers = distinct_rows(rows.w[of_prompt], rows.weight[of_prompt])
        found = models.marginal(model, test.x[here][first], *readers, test.text_id[here][first])
        mean[here], error[here] = found[0][position], found[1][position]
    return mean, error


def fit_assignment(
    spec: Any, rows: Rows, labels: Int64, seed: int, max_weight: float, *, repeats: Sequence[int]
) -> CandidateFits[AssignmentModel]:
    """Cross-fit an assignment model: array s, given the prompt where there are prompts.

    Its loss is that of classifying real pairs of text and reader against randomly reassigned ones. A model that cannot
    be fitted, or whose weights collapse on few rows, is a failure.
    """
    name = models.name_of(spec)
    s = np.empty(labels.shape)
    fitted: list[list[AssignmentModel]] = [[] for _ in labels]
    records: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for r, k in track(_places(labels, repeats), f"assignment model {name}"):
        out = labels[r] == k
        train, test = np.flatnonzero(~out), np.flatnonzero(out)
        text_id, prompt_id, weight = rows.text_id[train], rows.prompt_id, rows.weight
        within = GivenPrompt.of(rows, ~out)
        x, w = within.text[out], within.reader[out]
        rng = np.random.default_rng([seed, r, k])
        pairs = max(1, min(REASSIGNED, MOST_REASSIGNED // len(test)))
        text, reader = reassigned_pairs(len(test), rng, pairs, None if prompt_id is None else prompt_id[test])
        loss = float(np.log(2))
        model = models.assignment_model(spec)
        try:
            model = models.fit_assignment(
                spec,
                within.text[train],
                within.reader[train],
                weight[train],
                text_id,
                None if prompt_id is None else prompt_id[train],
            )
            fitted[r].append(model)
            of_text, of_reader = within.log_margins(model, out, rng)
            s[r, out] = models.stabilized_weight(model, x, w) * np.exp(of_text + of_reader)
            reassigned = models.stabilized_weight(model, x[text], w[reader]) * np.exp(of_text[text] + of_reader[reader])
            if _usable(s[r, out]) and _usable(reassigned):
                loss = discrimination_loss(
                    np.log(s[r, out]), np.log(reassigned), weight[test], weight[test][text] * weight[test][reader]
                )
        except UNFIT as exception:
            s[r, out] = np.nan
            unfit = f"it cannot be fitted in fold {k}{_of_repeat(r, labels)} ({exception})"
            failures.append(Failure("assignment model", name, unfit))
        records.append(
            _score((r, k, "assignment", models.fitted_name(spec, model), len(test)), loss, float(np.log(2)), 0.0)
        )
        if not isinstance(model, RandomizedAssignment) and len(np.unique(text_id[weight[train] > 0])) < 2:
            # Its weights are then all 1, without any support in these rows.
            failures.append(Failure("assignment model", name, f"there is a single text outside fold {k}"))
    for r in repeats:
        reason = None if failures else collapsed(s[r], rows.weight, max_weight)
        if reason is not None:
            failures.append(Failure("assignment model", name, reason + _of_repeat(r, labels)))
    return CandidateFits((s,), fitted, pd.DataFrame(records), tuple(failures))


def fit_observation(
    spec: Any, rows: Rows, observed: Array, labels: Int64, *, repeats: Sequence[int]
) -> CandidateFits[ObservationModel]:
    """Cross-fit an observation model: array pi, the probability that a row's outcome was observed.

    Its loss is the log loss. The rate of the training rows replaces a model in a fold where it cannot be fitted or
    predicts what is not a probability, and in a repeat where it is worse than the rate; both are failures.
    """
    name = models.name_of(spec)
    pi, rate = np.empty(labels.shape), np.empty(labels.shape)
    fitted: list[list[ObservationModel]] = [[] for _ in labels]
    records, unusable = [], []
    for r, k in track(_places(labels, repeats), f"observation model {name}"):
        out = labels[r] == k
        train, test = rows[~out], rows[out]
        arrays = train.x, train.w, observed[~out], train.weight
        model: ObservationModel = ConstantObservation().fit(*arrays)
        rate[r, out] = pi[r, out] = models.probability(model, test.x, test.w)
        reason = None
        if 0 < rate[r, out][0] < 1:  # else nothing distinguishes the rows that have an outcome
            try:
                model = models.fit_observation(spec, *arrays, train.text_id)
                pi[r, out] = models.probability(model, test.x, test.w)
                if not _is_probability(pi[r, out]):
                    reason = "it predicts values that are not above 0 and at most 1"
            except UNFIT as exception:
                reason = f"it cannot be fitted ({exception})"
        if reason is not None:
            unusable.append(f"in fold {k}{_of_repeat(r, labels)} {reason}")
            pi[r, out] = rate[r, out]
        loss, null = (
            float(np.average(log_losses(observed[out], one[r, out]), weights=test.weight)) for one in (pi, rate)
        )
        records.append(_score((r, k, "observation", models.fitted_name(spec, model), len(test)), loss, null, 0.0))
        fitted[r].append(model)
    failures = []
    if unusable:
        more = f" (and in {len(unusable) - 1} more folds)" if len(unusable) > 1 else ""
        failures.append(Failure("observation model", name, unusable[0] + more))
    for r in repeats:
        reason = worse_than_rate(observed, pi[r], rate[r], rows.weight, rows.group)
        if reason is not None:
            failures.append(Failure("observation model", name, reason + _of_repeat(r, labels)))
            pi[r] = rate[r]
    return CandidateFits((pi,), fitted, pd.DataFrame(records), tuple(failures))


def _is_probability(pi: Float64) -> bool:
    return bool(np.isfinite(pi).all() and (pi > 0).all() and (pi <= 1).all())


def _usable(s: Float64) -> bool:
    return bool(np.isfinite(s).all() and (s > 0).all())


def _of_repeat(r: int, labels: Int64) -> str:
    return f" of repeat {r}" if len(labels) > 1 else ""


def _places(labels: Int64, repeats: Sequence[int]) -> list[tuple[int, int]]:
    return [(r, k) for r in repeats for k in range(int(labels[r].max()) + 1)]


def _score(
    place: tuple[int, int, str, str, int], loss: float, null_loss: float, marginal_error: float
) -> dict[str, Any]:
    skill = 1 - loss / null_loss if null_loss > 0 else 0.0
    return dict(zip(SCORE_COLUMNS, (*place, loss, null_loss, skill, marginal_error), strict=False))
