"""Cross-fitting: each row's nuisances come from models fitted without its group (Chernozhukov et al. 2018)."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from causalopt import plugins
from causalopt.arrays import LARGEST, as_vector
from causalopt.data.folds import external_folds, group_folds
from causalopt.errors import CausalOptWarning, ConfigError, DataError, OverlapWarning, TruncationWarning
from causalopt.executors import Executor
from causalopt.nuisance import candidates, models
from causalopt.nuisance.contracts import AssignmentModel, OutcomeModel
from causalopt.nuisance.diagnostics import (
    warn_if_mean_is_not_one,
    warn_if_separated,
    warn_if_text_gives_reader_away,
)
from causalopt.nuisance.fitted import CrossFit, FoldModels, HeldOut, Readers, Truncation
from causalopt.nuisance.given_prompt import GivenPrompt
from causalopt.nuisance.guards import Failure
from causalopt.nuisance.repeats import over_repeats
from causalopt.nuisance.rows import Rows
from causalopt.typing import Array, Float64, Int64

__all__ = ["CrossFit", "Rows", "cross_fit"]

NOTEWORTHY_MASS = 0.01
"""Share of the weights' mass whose truncation causes a warning."""


def cross_fit(
    x: Any,
    w: Any,
    y: Any,
    weight: Any = None,
    group: Any = None,
    *,
    text_id: Any = None,
    prompt_id: Any = None,
    prompt_columns: int = 0,
    outcome_model: Any = "ridge-lightgbm",
    assignment_model: Any = "auto",
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    fold: Any = None,
    max_weight: float = 20.0,
    m: Any = None,
    g: Any = None,
    s: Any = None,
    outcome_rows: Rows | None = None,
    observed: Any = None,
    observation_model: Any = "logistic",
    pi: Any = None,
    executor: Any = "local",
) -> CrossFit:
    """Fit nuisances on all folds but one, and predict on that one.

    Parameters
    ----------
    x:
        Embeddings, shape [n, d].
    w:
        Encoded covariates, shape [n, p], or None; without any the assignment weight is 1 and g = m.
    y:
        Outcomes, shape [n].
    weight:
        Exposure of each row, shape [n], or None for ones.
    group:
        Labels [n] of the units that stay in one fold (the texts), or None if every row is a unit.
    text_id:
        Labels [n] of the texts (with their prompts), which inner folds keep together; with None, rows of equal
        embedding are one text.
    prompt_id, prompt_columns:
        Labels [n] of the prompts, and how many of x's last columns embed the prompt; None and 0 without prompts.
    outcome_model, assignment_model:
        A name, a mapping with a name and settings, an object that keeps the contract, a scikit-learn or EconML
        estimator, or a list of these: each is then cross-fitted, and the one with the smallest held-out loss is used.
    folds, repeats, seed:
        Groups are randomly reassigned to folds in each repeat; m, s and g are the medians over the repeats.
    fold:
        Folds made elsewhere, used in their place; see `external_folds`.
    max_weight:
        Stabilized weights above it are truncated to it.
    m, g, s:
        Nuisances computed elsewhere, shape [n]. With covariates, m and g come together: g must be the mean of that m
        over readers (of the row's prompt, if there are prompts).
    outcome_rows:
        Rows of a second data set, on which the outcome model is fitted in place of these. They may be confounded: their
        groups are codes in the same sense as ``group``, and rows whose group is in the held-out fold are left out, so
        that a text shared by both data sets is scored by a model that was not fitted on it. Rows whose group is not in
        ``group`` are used in every fit. Averages are over the readers of the first data set.
    observed:
        Whether each row's outcome was observed, shape [n], or None if all were. In the others y is not looked at: they
        take part in s and in the averages over readers, but not in m.
    observation_model:
        Model of p(observed | x, w), as ``outcome_model``; used if some outcome was not observed.
    pi:
        These probabilities, computed elsewhere, shape [n].
    executor:
        Where the repeats are fitted: a name, a mapping with a name and settings, or an object. An outcome model that
        reads texts, or is fitted on ``outcome_rows``, stays in this process. The numbers do not depend on it.

    Returns
    -------
    CrossFit

    Raises
    ------
    DataError
        If arrays have different lengths, there is a single group, or a fold has no weight.

    Warns
    -----
    TruncationWarning
        If truncation removes more than one percent of the weights' mass.
    OverlapWarning
        If covariates determine who was shown a text (a positivity violation), the mean weight is far from one, or some
        readers hardly ever respond (see `truncate_observation`).
    CausalOptWarning
        If a fold holds a single group, or a nuisance fails (see `guards`): m is then the mean of the training outcomes,
        s is 0, so that xi = g, and pi is the rate of the training rows.

    Notes
    -----
    xi = s (y - m) + g is doubly robust: E[xi | x] = E[Y(x)] if either m or s is right (Kennedy, Ma, McHugh and Small
    2017). With prompts c it is E[xi | c, x] = E[m(c, x, W) | c]: readers keep their prompts. Then
    s = p(x | c) / p(x | c, w) (see `GivenPrompt`), and g averages m over the readers of the row's own prompt, the row's
    own reader weighted by s, since that reader is not drawn independently of the text: for a prompt that occurs once, g
    is the mean outcome plus s times the deviation of m from it, which has the expectation of s m and less variance.

    Where some outcomes were not observed, xi = s observed / pi (y - m) + g. Given that whether an outcome is observed
    does not depend on its value within (x, w), it has the same mean if either m is right or both s and pi are (Robins,
    Rotnitzky and Zhao 1994).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.cross_fitting import cross_fit
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(300, 2)), rng.normal(size=(300, 1))
    >>> y = x[:, 0] + w[:, 0] + 0.1 * rng.normal(size=300)
    >>> fit = cross_fit(x, w, y, outcome_model="ridge", assignment_model="randomized")
    >>> bool(np.corrcoef(fit.g, x[:, 0])[0, 1] > 0.99)
    True
    """
    if max_weight <= 1:
        raise ConfigError(f"max_weight must be above 1, not {max_weight}")
    rows = Rows.of(x, w, y, weight, group, text_id, prompt_id, prompt_columns, observed)
    n, p = rows.w.shape
    given = {
        name: as_vector(name, values, n, below=largest)
        for name, values, largest in (
            ("m", m, LARGEST),
            ("g", g, LARGEST),
            ("s", s, np.inf),  # truncated at max_weight
            ("pi", pi, LARGEST),
        )
        if values is not None
    }
    if p and ("m" in given) != ("g" in given):
        raise DataError("m and g must come together: g is the mean over readers of that very m")
    if (given.get("s", np.ones(n)) <= 0).any():
        raise DataError(f"s is not positive at row {int(np.argmax(given['s'] <= 0))}: a stabilized weight is")
    if ((wrong := given.get("pi", np.ones(n))) <= 0).any() or (wrong > 1).any():
        row = int(np.argmax((wrong <= 0) | (wrong > 1)))
        raise DataError(
            f"pi is {wrong[row]:g} at row {row}: a probability of observing an outcome is above 0, at most 1"
        )
    if "pi" in given and observed is None:
        raise DataError("pi goes with observed: it is the probability that an outcome was observed")
    if rows.weight[rows.has_outcome].sum() <= 0 < rows.weight.sum():
        raise DataError("no row that has an outcome has a positive weight: there is nothing to learn")
    labels = _folds(rows, fold, folds, repeats, seed)
    where: Executor = plugins.executors.create(executor)

    scores: list[pd.DataFrame] = []
    outcomes: list[list[OutcomeModel]] | None = None
    assignments: list[list[AssignmentModel]] | None = None
    own_reader_counts = False
    failures: tuple[Failure, ...] = ()
    if "m" in given or "g" in given:
        fitted_m = given.get("m", given.get("g"))
        fitted_g = given.get("g", fitted_m)
        assert fitted_m is not None
        assert fitted_g is not None
    else:
        specs = models.candidates_of(plugins.outcome_models, outcome_model)
        chosen = candidates.choose(
            [_outcome_fits(spec, rows, labels, outcome_rows, where) for spec in specs],
            np.where(rows.has_outcome, rows.weight, 0.0),
            labels,
            scores,
        )
        # The median over repeats is not moved by one unlucky division (Chernozhukov et al. 2018, definition 3.3).
        fitted_m = np.median(chosen.arrays[0], axis=0)
        fitted_g = np.median(chosen.arrays[1], axis=0) if p else fitted_m
        own_reader_counts = p > 0
        outcomes = chosen.models
        failures += chosen.failures
    no_weight = False
    if "s" in given:
        fitted_s = given["s"]
    elif p == 0:
        fitted_s = np.ones(n)
    else:
        specs = models.candidates_of(plugins.assignment_models, assignment_model)
        picked = candidates.choose(
            [
                over_repeats(
                    partial(candidates.fit_assignment, spec, rows, labels, seed, max_weight), len(labels), where
                )
                for spec in specs
            ],
            rows.weight,
            labels,
            scores,
        )
        fitted_s = np.median(picked.arrays[0], axis=0)
        failures += picked.failures[:1]
        no_weight = bool(picked.failures)
        assignments = None if no_weight else picked.models  # one that cannot be fitted leaves folds without a model
    fitted_pi, truncated_pi = None, Truncation()
    if "pi" in given or not rows.has_outcome.all():
        fitted_pi = given.get("pi")
        if fitted_pi is None:
            specs = models.candidates_of(plugins.observation_models, observation_model)
            asked = candidates.choose(
                [
                    over_repeats(
                        partial(candidates.fit_observation, spec, rows, rows.has_outcome, labels), len(labels), where
                    )
                    for spec in specs
                ],
                rows.weight,
                labels,
                scores,
            )
            fitted_pi = np.median(asked.arrays[0], axis=0)
            failures += asked.failures
        fitted_pi, truncated_pi = truncate_observation(fitted_pi, rows.has_outcome, rows.weight, max_weight)
    if failures:
        warnings.warn(". ".join(str(failure) for failure in failures), CausalOptWarning, stacklevel=2)
    if p:
        _warn_of_positivity(rows)
    if no_weight:
        # s = 1 would claim that texts were assigned at random; without a correction xi = g, and s plays no part.
        fitted_s, truncated = np.zeros(n), Truncation()
    else:
        if p or "s" in given:
            warn_if_mean_is_not_one(fitted_s, rows.weight, rows.group)
        fitted_s, truncated = truncate(fitted_s, rows.weight, max_weight)
        if own_reader_counts:
            # About the mean: E[s | c, x] = 1, so that no level of the outcomes need be multiplied by the noise of s.
            level = float(np.average(fitted_m, weights=rows.weight))
            # g_i = sum_k a_k m(x_i, w_k), with the own reader's term multiplied by s_i.
            fitted_g = fitted_g + _own_share(rows) * (fitted_s - 1) * (fitted_m - level)
    table = pd.concat(scores, ignore_index=True) if scores else pd.DataFrame(columns=list(candidates.SCORE_COLUMNS))
    held_out = HeldOut.of(rows.text_id, labels, rows.weight)
    return CrossFit(
        labels,
        fitted_m,
        fitted_s,
        fitted_g,
        truncated,
        table,
        _fold_models(labels, outcomes, assignments),
        held_out,
        Readers.of(rows.w, rows.weight, labels),
        rows.w,
        seed,
        failures,
        fitted_pi,
        truncated_pi,
    )


def _folds(rows: Rows, fold: Any, folds: int, repeats: int, seed: int) -> Int64:
    """Labels of the folds, shape [repeats, n]: the given ones, or groups assigned at random."""
    if fold is not None:
        labels = external_folds(fold, rows.group)
    else:
        folds = _fewer_folds(folds, rows.group)
        labels = np.stack([group_folds(rows.group, folds, seed + repeat) for repeat in range(repeats)])
    _check_folds(labels, rows)
    return labels


def _outcome_fits(
    spec: Any, rows: Rows, labels: Int64, outcome_rows: Rows | None, executor: Executor
) -> candidates.CandidateFits[OutcomeModel]:
    """Cross-fit an outcome model in all repeats."""
    fit = partial(candidates.fit_outcome, spec, rows, labels, outcome_rows)
    if outcome_rows is not None or isinstance(spec, models.ReadsTexts):
        # One fit on other rows may serve every repeat; a model that reads texts shares them with this process.
        return fit(repeats=range(len(labels)))
    return over_repeats(fit, len(labels), executor)


def _warn_of_positivity(rows: Rows) -> None:
    """Warn if covariates determine who was shown a text, or a text determines its readers."""
    warn_if_separated(rows.text_id, rows.w, rows.prompt_id)
    within = GivenPrompt.of(rows, np.ones(len(rows), dtype=bool))
    warn_if_text_gives_reader_away(within.text, within.reader, rows.weight, rows.text_id)


def _fold_models(
    labels: Int64, outcomes: list[list[OutcomeModel]] | None, assignments: list[list[AssignmentModel]] | None
) -> tuple[tuple[FoldModels, ...], ...]:
    """Models of every fold of every repeat."""
    return tuple(
        tuple(
            FoldModels(None if outcomes is None else outcomes[r][k], None if assignments is None else assignments[r][k])
            for k in range(int(labels[r].max()) + 1)
        )
        for r in range(len(labels))
    )


def truncate(s: Float64, weight: Float64, max_weight: float) -> tuple[Float64, Truncation]:
    """Truncate weights at ``max_weight``, and return how much that removed (Ionides 2008).

    Warns
    -----
    TruncationWarning
        If more than one percent of the mass is removed.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.cross_fitting import truncate
    >>> s, truncated = truncate(np.array([0.99, 1.01, 1.0]), np.ones(3), max_weight=1.005)
    >>> s.tolist(), round(truncated.rows, 3), round(truncated.mass, 5)
    ([0.99, 1.005, 1.0], 0.333, 0.00167)
    """
    cut = np.minimum(s, max_weight)
    total = float(weight @ s)
    truncated = Truncation(float(np.average(s > max_weight, weights=weight)), float(weight @ (s - cut)) / total)
    if truncated.mass > NOTEWORTHY_MASS:
        warnings.warn(
            f"{100 * truncated.mass:.1f}% of the mass of the stabilized weights was cut at max_weight {max_weight:g} "
            f"({100 * truncated.rows:.1f}% of the rows; the largest was {s.max():.3g}): some readers hardly ever see "
            "some of the texts, and the estimate leans on the outcome model there",
            TruncationWarning,
            stacklevel=3,
        )
    return cut, truncated


def truncate_observation(
    pi: Float64, observed: Array, weight: Float64, max_weight: float
) -> tuple[Float64, Truncation]:
    """Truncate 1 / pi at ``max_weight`` times its value for the overall rate, and return how much that removed.

    The bound is on rate / pi, which has mean one over the observed rows as a stabilized weight has: where one reader in
    a hundred responds, 1 / pi is 100 for everybody, and nothing is extreme about that.

    Warns
    -----
    OverlapWarning
        If more than one percent of the rows, or of the total of observed / pi, is beyond the bound.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.cross_fitting import truncate_observation
    >>> pi = np.array([0.01, 0.01, 0.02, 0.01])
    >>> truncate_observation(pi, np.array([1, 0, 0, 0]), np.ones(4), max_weight=50.0)[0].tolist()
    [0.01, 0.01, 0.02, 0.01]
    """
    rate = float(np.average(observed, weights=weight))
    kept = np.maximum(pi, rate / max_weight)
    counted = weight * observed
    rows = float(np.average(pi < kept, weights=weight))
    mass = float(1 - (counted @ (1 / kept)) / (counted @ (1 / pi)))
    if max(rows, mass) > NOTEWORTHY_MASS:
        warnings.warn(
            f"{100 * rows:.1f}% of the rows are so unlikely to have an outcome (a probability below "
            f"{rate / max_weight:.2g}, where the overall rate is {rate:.2g}) that 1 / p was cut there, and with it "
            f"{100 * mass:.1f}% of the mass of these weights: some readers hardly ever respond to some of the texts, "
            "and the estimate leans on the outcome model there",
            OverlapWarning,
            stacklevel=3,
        )
    return kept, Truncation(rows, mass)


def _fewer_folds(folds: int, group: Int64) -> int:
    """Return the number of folds; with fewer groups than folds, the number of groups, with a warning."""
    groups = len(np.unique(group))
    if not 2 <= groups < folds:
        return folds
    warnings.warn(
        f"there are {groups} units to assign to {folds} folds (texts, prompts or readers, whichever are drawn): "
        f"{groups} folds of one unit are made, and the nuisances are rough; where these are all that there are, and no "
        "sample, say so in data.population",
        CausalOptWarning,
        stacklevel=3,
    )
    return groups


def _check_folds(labels: Int64, rows: Rows) -> None:
    for r, repeat in enumerate(labels):
        groups = [len(np.unique(rows.group[repeat == k])) for k in range(int(repeat.max()) + 1)]
        single = groups.count(1)
        if single and len(np.unique(rows.group)) < len(rows):
            warnings.warn(
                f"{single} of {len(groups)} folds of repeat {r} hold a single group: {sum(groups)} groups are few "
                "to learn from, and the nuisances are rough",
                CausalOptWarning,
                stacklevel=3,
            )
        for k in range(len(groups)):
            for part, mask in (("train on", repeat != k), ("predict", repeat == k)):
                if rows.weight[mask].sum() <= 0:
                    count = int((rows.weight > 0).sum())
                    raise DataError(
                        f"fold {k} has no weight to {part}: {count} of {len(rows)} rows have a positive weight"
                    )


def _own_share(rows: Rows) -> Float64:
    """Share of a row's own reader in the average behind its g, shape [n]; zero without prompts."""
    if rows.prompt_id is None:
        return np.zeros(len(rows))
    prompt = np.unique(rows.prompt_id, return_inverse=True)[1]
    total = np.bincount(prompt, weights=rows.weight)[prompt]
    return np.divide(rows.weight, total, out=np.zeros(len(rows)), where=total > 0)
