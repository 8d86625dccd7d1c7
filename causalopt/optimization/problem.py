"""From pseudo-outcomes to the input of an optimiser; orientation, centring and scale are decided only here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from causalopt.backends.conditional_logit import ConditionalLogitPolicy
from causalopt.backends.contracts import Policy, PolicyProblem
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import DataError
from causalopt.optimization.choice_problem import choice_problem
from causalopt.optimization.second_stage import expected_residual
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Float64, Int64

BASELINE_TEXTS = 16
"""Number of the reference's texts from which the mean level of a row's reader is computed."""


def draw_samples(
    reference: Policy, dataset: DirectOutcomeDataset, per_row: int, seed: int, pool: int | None = None
) -> list[list[str]]:
    """Draw ``per_row`` texts from the reference for each row, given the row's prompt.

    Without prompts the draws do not depend on the row, and ``pool`` texts, distributed evenly over the rows, cost less
    than separate draws for each row.
    """
    n = len(dataset) * per_row
    if dataset.prompts is not None:
        texts = reference.sample([prompt for prompt in dataset.prompts for _ in range(per_row)], n, seed)
    elif pool is None or pool >= n:
        texts = reference.sample(None, n, seed)
    else:
        drawn = reference.sample(None, pool, seed)
        texts = [drawn[i % pool] for i in np.random.default_rng(seed).permutation(n)]
    return [texts[start : start + per_row] for start in range(0, len(texts), per_row)]


def _row_baseline(pseudo: PseudoOutcomes, sampled_texts: Sequence[Sequence[str]] | None) -> Float64 | None:
    """Mean response of the reader of each row to texts of the reference, shape [n]; None without prompts.

    Readers differ in their mean level, which does not depend on the text. Since E[rho~ | c] = 1, any function of prompt
    and reader may be subtracted from the response to a drawn text, and the difference has far less noise.
    """
    data = pseudo.dataset
    if data.prompts is None:
        return None
    if sampled_texts is None:
        return np.zeros(len(data))
    pool = list(dict.fromkeys(text for row in sampled_texts for text in row))
    chosen = [pool[i] for i in np.random.default_rng(0).permutation(len(pool))[:BASELINE_TEXTS]]
    rows = np.arange(len(data))
    response = pseudo.row_response(chosen * len(data), np.repeat(rows, len(chosen)))
    return np.asarray(response.reshape(len(data), len(chosen)).mean(axis=1))


def policy_problem(
    pseudo: PseudoOutcomes,
    behavior: Float64,
    sampled_texts: Sequence[Sequence[str]] | None,
    second_stage: Any = None,
    reference: Policy | None = None,
) -> PolicyProblem:
    """Orient, centre and scale the pseudo-outcomes.

    The reward is measured in standard deviations of the outcome, so that the coefficients of an objective (KL, entropy)
    and the learning rate have the same meaning on every data set. g is centred, which changes no optimum (E[rho] = 1)
    and removes the largest part of the gradient's variance. With ``direction: minimize`` the sign is reversed.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the training rows, in outcome units.
    behavior:
        log q of the training texts, shape [n], nats.
    sampled_texts:
        From `draw_samples`, or None for an objective that needs none.
    second_stage:
        Model of the residual given the text, whose predictions replace the residuals
        (`causalopt.optimization.second_stage.expected_residual`); None keeps the residuals. It is a setting of some
        objectives (`causalopt.objectives.paper.DRCPO`).
    reference:
        P^f0. If it chooses among each prompt's own candidates, the problem is
        `causalopt.optimization.choice_problem.choice_problem`.

    Raises
    ------
    DataError
        If all outcomes of the rows are equal.
    ModelError
        If there is a second stage, but the pseudo-outcomes were read from a file, without their models.
    """
    data = pseudo.dataset
    outcome = data.outcome[data.rated]
    if not len(outcome) or np.ptp(outcome) == 0:
        what = f"are {outcome[0]:g}" if len(outcome) else "are missing"
        raise DataError(
            f"{data.source}: all outcomes of the {len(data)} training rows {what}, so that no text is "
            "better than another: use another seed, or a larger share of training rows"
        )
    if isinstance(reference, ConditionalLogitPolicy):
        return choice_problem(pseudo, behavior, sampled_texts, reference, second_stage)
    residual, noise = pseudo.residual, None
    if second_stage is not None:
        x = pseudo.fitted().embed(data.prompts, data.texts)
        # A text is identified together with its prompt: the policy's ratio depends on both.
        text = pseudo.fitted().index.ids(data.prompts, data.texts)
        # E[s (y - m) | x] over all readers is a mean over those who responded, each weighted by 1 / pi. Rows without an
        # outcome have no weight in it, and its prediction: fitted to their zeros instead, it would be noisier.
        weight = data.weight * pseudo.observation_weight
        residual = expected_residual(x, pseudo.s * pseudo.error, weight, pseudo.fold, text, second_stage)
        noise = pseudo.residual - residual
    center = float(np.average(pseudo.g, weights=data.weight))
    _, scale = data.outcome_mean_and_spread()
    factor = (1.0 if data.direction == "maximize" else -1.0) / scale

    baseline = _row_baseline(pseudo, sampled_texts)

    def dose_response(texts: Sequence[str], row: Int64) -> Float64:
        # With prompts a text is valued by the response of its row's reader; without, by the mean over all readers.
        if baseline is None:
            return factor * (pseudo.dose_response(texts) - center)
        return factor * (pseudo.row_response(texts, row) - baseline[row])

    if sampled_texts is None:
        sampled_texts = [[] for _ in range(len(data))]
        sampled_g = np.zeros((len(data), 0))
    else:
        per_row = len(sampled_texts[0])
        texts = [text for row in sampled_texts for text in row]
        sampled_g = dose_response(texts, np.repeat(np.arange(len(data)), per_row)).reshape(len(data), per_row)
    return PolicyProblem(
        texts=data.texts,
        prompts=data.prompts,
        behavior_log_prob=behavior,
        residual=factor * residual,
        g=factor * (pseudo.g - center),
        weight=data.weight / data.weight.mean(),
        sampled_texts=sampled_texts,
        sampled_g=sampled_g,
        dose_response=dose_response,
        noise=None if noise is None else factor * noise,
    )
