"""The input of an optimiser that chooses among each prompt's own candidates: effects within prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from causalopt.backends.conditional_logit import ConditionalLogitPolicy
from causalopt.backends.contracts import PolicyProblem
from causalopt.errors import DataError
from causalopt.nuisance.within_prompts import Readings, WithinPromptEffects, fit_within_prompts
from causalopt.optimization.second_stage import RIDGE_TEXT, expected_residual
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Float64, Int64


def within_prompt_effects(
    pseudo: PseudoOutcomes, candidate: Int64, features: Float64, prompt: Int64
) -> tuple[WithinPromptEffects, Readings]:
    """Regress the pseudo-outcomes on the candidates' features, within prompts (`fit_within_prompts`).

    E[xi | c, x] is what candidate x of prompt c does on average over the prompt's readers, so this is the second stage
    of the DR-learner (Kennedy 2023, "Towards optimal doubly robust estimation of heterogeneous causal effects"). Rows
    without an outcome play no part; the others stand for 1 / pi rows each.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of n rows.
    candidate:
        Position of the row's text with its prompt among N candidates, shape [n].
    features, prompt:
        Features [N, d] and code of the prompt [N] of each candidate.

    Raises
    ------
    DataError
        If no prompt has two candidates with outcomes, or no two of them differ.
    """
    rated = pseudo.dataset.rated
    weight = pseudo.dataset.weight / pseudo.dataset.weight.mean() * rated
    readings = Readings.of(np.where(rated, pseudo.xi, 0.0), weight, candidate, len(features))
    try:
        return fit_within_prompts(features, readings, prompt), readings
    except DataError as error:
        raise DataError(f"{pseudo.dataset.source}: {error}") from None


def choice_problem(
    pseudo: PseudoOutcomes,
    behavior: Float64,
    sampled_texts: Sequence[Sequence[str]] | None,
    reference: ConditionalLogitPolicy,
    second_stage: Any = None,
) -> PolicyProblem:
    """Return the problem whose rewards are differences between the candidates of a prompt.

    An objective is unchanged by a constant for each prompt, since the ratios of its candidates have mean one: sum_x
    q(x | c) rho(x | c) = 1. A baseline for each prompt is therefore free, and without one the differences between
    prompts, which no choice changes, hide those between texts. With beta, u and a_c of `fit_within_prompts`,

        g = beta' (phi(x) - mean of phi given c),    residual = 0,

    and the sampled term is summed over all candidates. The ratio of a policy for new prompts depends on phi(x) alone,
    so that E[rho xi | c] = E[rho E[xi | c, phi]]: what a text has beyond its features, u, is of no use for other texts.
    Left in the rewards it would be noise; in the fit of beta it has a variance of its own, by which a text that was
    shown a thousand times as often does not count a thousand times. Rewards are in standard deviations of g + u over
    the logged candidates, that is, of what differs within prompts.

    Parameters
    ----------
    pseudo, behavior, sampled_texts:
        As in `causalopt.optimization.problem.policy_problem`.
    reference:
        The reference over the candidates of the rows' prompts.
    second_stage:
        Predicts the residuals xi - a_c - g. ``ridge-text`` predicts 0, since beta is that ridge regression; an outcome
        model regresses them on the embedding, for effects that are not linear; None keeps them.

    Raises
    ------
    DataError
        If no prompt has two candidates with outcomes, or no two of them differ.
    """
    data = pseudo.dataset
    assert data.prompts is not None
    row = reference.index_of(data.texts, data.prompts)
    effects, readings = within_prompt_effects(pseudo, row, reference.features, reference.segment)
    of_text = effects.text_effects(reference.features, readings, reference.segment)
    of_features = reference.features @ effects.coefficients
    share = reference.probability
    of_features = of_features - np.bincount(reference.segment, weights=share * of_features)[reference.segment]

    residual = np.zeros(len(data))
    if second_stage != RIDGE_TEXT:
        left = pseudo.xi - of_features[row]
        weight = data.weight * pseudo.observation_weight
        prompt = reference.segment[row]
        total = np.bincount(prompt, weights=weight)[prompt]
        mean = np.bincount(prompt, weights=weight * left)[prompt]
        residual = left - np.divide(mean, total, out=np.zeros(len(left)), where=total > 0)
        if second_stage is not None:
            x = np.asarray(pseudo.fitted().embed(data.prompts, data.texts))
            residual = expected_residual(x, residual, weight, pseudo.fold, row, second_stage)
    factor = (1.0 if data.direction == "maximize" else -1.0) / _spread(of_features + of_text, readings.exposure)

    def dose_response(texts: Sequence[str], at: Int64) -> Float64:
        prompts = data.prompts
        assert prompts is not None
        return factor * of_features[reference.index_of(texts, [prompts[i] for i in at])]

    sampled = [[] for _ in range(len(data))] if sampled_texts is None else sampled_texts
    per_row = len(sampled[0])
    drawn = dose_response([text for texts in sampled for text in texts], np.repeat(np.arange(len(data)), per_row))
    return PolicyProblem(
        texts=data.texts,
        prompts=data.prompts,
        behavior_log_prob=behavior,
        residual=factor * residual,
        g=factor * of_features[row],
        weight=data.weight / data.weight.mean(),
        sampled_texts=sampled,
        sampled_g=drawn.reshape(len(data), per_row),
        dose_response=dose_response,
    )


def _spread(effect: Float64, exposure: Float64) -> float:
    """Root mean square of effects that are centred within prompts, outcome units."""
    return float(np.sqrt(np.average(effect**2, weights=exposure))) or 1.0
