"""Values of policies from a judge's scores, calibrated to the outcomes of the logged rows that have one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from types import NoneType
from typing import Self

import numpy as np
import pandas as pd

from causalopt.backends.contracts import Policy
from causalopt.data import files
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.messages import split_messages
from causalopt.data.population import Population
from causalopt.diagnostics.overlap import Overlap
from causalopt.diagnostics.support import outside_draws
from causalopt.diagnostics.transport import Transport, transport
from causalopt.diagnostics.verdict import thin_overlap
from causalopt.doors import as_texts, check_choice, check_number, check_seed, check_type
from causalopt.errors import ConfigError, DataError, MissingPartError, ModelError, OverlapWarning
from causalopt.estimators.calibration import CalibratedScores, calibrate_scores, refuse_outside
from causalopt.estimators.dm import dm
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.balancing import Score
from causalopt.evaluation.comparison import overlap_of
from causalopt.evaluation.evaluate import describe
from causalopt.evaluation.policies import Draws, Evaluable
from causalopt.evaluation.prepared import check_two, prepare
from causalopt.evaluation.terms import DOUBLY_ROBUST, NO_DRAWS, PolicyTerms
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.typing import BehaviorPolicy, Float64, Int64

ESTIMATORS = ("balance", *DOUBLY_ROBUST)
"""Estimators with a plug-in part, whose place the calibrated score takes."""
CALIBRATED, RAW = "calibrated_judge", "raw_judge"


@dataclass(frozen=True, eq=False)
class JudgeScores:
    """A judge whose scores were computed elsewhere, looked up by text (given its prompt).

    Parameters
    ----------
    scores:
        By pair of prompt (None without prompts) and text.
    source:
        Name in error messages.

    Examples
    --------
    >>> from causalopt.evaluation.judged import JudgeScores
    >>> JudgeScores({(None, "give now"): 4.0, (None, "join us"): 2.5})(None, ["join us", "give now"]).tolist()
    [2.5, 4.0]
    """

    scores: Mapping[tuple[str | None, str], float]
    source: str = "the judge's scores"

    def __post_init__(self) -> None:
        check_type("scores", self.scores, (Mapping,), "a mapping from pairs of prompt and text to scores")
        check_type("source", self.source, (str,), "a name")

    @classmethod
    def from_path(
        cls, path: str | Path, *, text: str = "text", prompt: str | None = None, score: str = "score"
    ) -> Self:
        """Read a table with columns of texts, of prompts if the data have any, and of scores.

        Raises
        ------
        DataError
            If a column is missing, a text is empty or has two scores, or a score is not a number.
        """
        frame = files.read_table(files.as_path(path))
        return cls.from_frame(frame, text=text, prompt=prompt, score=score, source=str(path))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, text: str, prompt: str | None, score: str, source: str) -> Self:
        """Take the scores from a table, as `from_path` does; ``source`` is its name in messages."""
        check_type("frame", frame, (pd.DataFrame,), "a DataFrame")
        for name, column in (("text", text), ("score", score), ("source", source)):
            check_type(name, column, (str,), "a name")
        check_type("prompt", prompt, (str, NoneType), "the name of a column, or None")
        frame, prompt = split_messages(frame, text, prompt, source)
        files.check_texts(frame, [text] if prompt is None else [text, prompt], source)
        if score not in frame:
            raise DataError(f"{source}: there is no column {score!r}; there are: {', '.join(map(str, frame.columns))}")
        prompts = [None] * len(frame) if prompt is None else frame[prompt].tolist()
        found: dict[tuple[str | None, str], float] = {}
        for i, (pair, cell) in enumerate(zip(zip(prompts, frame[text], strict=True), frame[score], strict=True)):
            try:
                value = files.number(cell)
            except ValueError as error:
                raise DataError(f"{source}: column {score!r}, row {i + 1}: {error}") from None
            if not np.isfinite(value):
                raise DataError(f"{source}: column {score!r}, row {i + 1} has no score: leave the row out, or score it")
            if found.setdefault(pair, value) != value:
                raise DataError(f"{source}: row {i + 1}: {pair[1][:60]!r} has two different scores")
        return cls(found, source)

    def __call__(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        texts = as_texts("texts", texts)
        asked = repeat(None) if prompts is None else as_texts("prompts", prompts)
        pairs = list(zip(asked, texts, strict=False))
        missing = next((pair for pair in pairs if pair not in self.scores), None)
        if missing is not None:
            raise DataError(f"{self.source}: has no score of the text {missing[1][:60]!r}: add a row for it")
        return np.array([self.scores[pair] for pair in pairs], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class JudgedEvaluation:
    """Values of a policy and its reference by a judge that was calibrated to outcomes.

    Attributes
    ----------
    estimates:
        ``estimates[quantity][name]`` with quantities "reference", "policy" and "difference", and names
        "calibrated_judge"; the estimator of the weights without the judge ("balance"); and "raw_judge", the mean of the
        scores as they are, in the judge's unit.
    estimator:
        The estimator whose weights correct the calibrated scores.
    level:
        Level of the confidence intervals.
    overlap:
        Overlap of these weights, among the rows that have an outcome, see `causalopt.Evaluation`.
    calibration:
        The calibrated scores of the logged texts, and the function for others.
    transport:
        By policy: whether the calibration errs among its texts, within strata of score and length.
    outside:
        By policy: share of its texts whose scores are unlike those with an outcome.
    outcomes:
        Number of rows with an outcome.
    """

    estimates: Mapping[str, Mapping[str, Estimate]]
    estimator: str
    level: float
    overlap: Overlap
    calibration: CalibratedScores
    transport: Mapping[str, Transport]
    outside: Mapping[str, float]
    outcomes: int

    @property
    def reference(self) -> Estimate:
        """Value of the reference from calibrated scores, outcome units."""
        return self.estimates["reference"][CALIBRATED]

    @property
    def policy(self) -> Estimate:
        """Value of the policy from calibrated scores, outcome units."""
        return self.estimates["policy"][CALIBRATED]

    @property
    def difference(self) -> Estimate:
        """Policy minus reference from calibrated scores, on the same rows, outcome units."""
        return self.estimates["difference"][CALIBRATED]

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each quantity and estimator: estimate, se, ci_low, ci_high."""
        return pd.DataFrame(
            [
                {"quantity": quantity, **describe(estimate, name, self.level)}
                for quantity, by_name in self.estimates.items()
                for name, estimate in by_name.items()
            ]
        )

    def summary(self) -> str:
        """Return a summary of a few lines: the difference, whether the calibration carries over, and overlap."""
        low, high = self.difference.confint(self.level)
        lines = [
            f"Policy minus reference, from a judge calibrated to {self.outcomes} outcomes: "
            f"{self.difference.value:+.4g} ({100 * self.level:g}% interval {low:+.4g} to {high:+.4g})."
        ]
        if "policy" in self.transport:
            lines.append(self.transport["policy"].sentence)
        thin = thin_overlap(self.overlap)
        return "\n".join(lines if thin is None else [thin, *lines])


def evaluate_with_judge(
    policy: Evaluable,
    data: DirectOutcomeDataset | PseudoOutcomes,
    judge: Score,
    *,
    reference: Evaluable | None = None,
    nuisances: PseudoOutcomeEstimator | None = None,
    estimator: str = "balance",
    behavior_policy: BehaviorPolicy | None = None,
    behavior_reference: Policy | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    population: Population | None = None,
) -> JudgedEvaluation:
    """Estimate the values of a policy and its reference from a judge's scores, calibrated to the logged outcomes.

    Of use where a judge can read any text and few of the logged rows have an outcome. The value is the mean calibrated
    score of texts drawn from the policy, corrected by the outcomes there are: it is right on average however the judge
    errs, and the better the judge, the shorter the interval (`causalopt.evaluation.calibrated_judge`).

    Parameters
    ----------
    policy, data, reference, nuisances, behavior_policy, behavior_reference, draws, level, seed, population:
        As in `causalopt.evaluate`. Rows without an outcome are those of ``observed``, or of ``on_missing: model``.
    judge:
        A function of prompts (None without prompts) and texts that returns a score of each, shape [m], in any unit; or
        `JudgeScores` that were computed elsewhere. It is asked once for each text. It must not have learned from these
        rows.
    estimator:
        Estimator whose weights the outcomes get: "balance", or one of "sndr", "dr", "switch_dr", "dr_os" and "mdr".

    Returns
    -------
    JudgedEvaluation

    Raises
    ------
    OverlapError
        If more than a tenth of the texts of a policy have scores unlike those of the logged texts with an outcome: by
        the rules of `causalopt.diagnostics.support.support`, or beyond their range.
    DataError
        If fewer than ten units have an outcome; and as `causalopt.evaluate` does.
    MissingPartError
        If no texts of a policy are available.

    Warns
    -----
    OverlapWarning
        If overlap is too thin for a conclusion, see `causalopt.evaluation.thin_overlap`.

    Notes
    -----
    The scores are calibrated to the outcome adjusted for covariates, y - m + g, with the weights s / p(observed): in
    expectation given a text, that is to the pseudo-outcome. The folds are those of the nuisances.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import causalopt as co
    >>> from causalopt.backends.listed_policy import ListedPolicy
    >>> rng = np.random.default_rng(0)
    >>> texts = [f"{a} {b}" for a in ("help us", "give now", "join in", "do act") for b in ("please", "today", "soon")]
    >>> worth = dict(zip(texts, np.linspace(1, 3, 12)))
    >>> frame = pd.DataFrame({"text": rng.choice(texts, 600)})
    >>> frame["outcome"] = frame["text"].map(worth) + rng.normal(size=600)
    >>> frame.loc[rng.random(600) < 0.7, "outcome"] = np.nan                      # 30% of the rows have an outcome
    >>> data = co.DirectOutcomeDataset.from_frame(frame, on_missing="model")
    >>> def judge(prompts, texts):
    ...     return np.array([np.exp(worth[text]) for text in texts])
    >>> better = ListedPolicy(texts, np.arange(1.0, 13.0) / 78)
    >>> nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", observation_model="constant")
    >>> found = co.evaluate_with_judge(better, data, judge, reference=ListedPolicy(texts, np.full(12, 1 / 12)),
    ...                                nuisances=nuisances)
    >>> low, high = found.difference.confint()
    >>> bool(low < np.arange(1, 13) / 78 @ np.linspace(1, 3, 12) - 2 < high)
    True
    """
    reference = check_two("evaluate_with_judge", policy, reference, data)
    check_choice("evaluate_with_judge: estimator", estimator, ESTIMATORS)
    if not callable(judge):
        raise ConfigError("evaluate_with_judge: judge must be a function of prompts and texts, or JudgeScores")
    check_number("evaluate_with_judge: draws", draws, least=2, whole=True)
    check_number("evaluate_with_judge: level", level, above=0, below=1)
    check_seed("evaluate_with_judge: seed", seed)
    ready = prepare(
        policy,
        reference,
        data,
        nuisances=nuisances,
        estimators=(estimator,),
        behavior_policy=behavior_policy,
        behavior_reference=behavior_reference,
        draws=draws,
        seed=seed,
        population=population,
    )
    pseudo, rows = ready.pseudo, ready.pseudo.dataset
    drawn = {who: one for who, one in ready.draws.items() if one is not None}
    if len(drawn) < 2:
        raise MissingPartError(NO_DRAWS)
    asked = _Asked(judge)
    scores = {who: asked(one.prompts, one.texts) for who, one in drawn.items()}
    of_rows = _scores_of_rows(rows, asked, all_rows=any(one.logged for one in drawn.values()))
    calibration, adjusted = _calibrate(pseudo, ready.terms["policy"], of_rows)
    outside = {
        who: _outside(rows, ready.population, of_rows, scores[who], seed)
        for who, one in drawn.items()
        if not one.logged
    }
    for who, share in outside.items():
        refuse_outside(share, f"texts that the {who} writes", rows.source)
    judged, estimates = {}, {}
    for who, terms in ready.terms.items():
        judged[who] = _with_scores(terms, estimator, calibration, adjusted, rows, drawn[who], scores[who], asked)
        support = drawn[who].support
        exact = None if support is None else float(support[1] @ asked(None, support[0]))
        raw = replace(drawn[who], g=scores[who], mean=exact)
        estimates[who] = {
            CALIBRATED: replace(judged[who].estimate(estimator), estimator=CALIBRATED),
            estimator: terms.estimate(estimator),
            RAW: replace(dm(raw.for_plug_in(len(rows)), weight=terms.weight, cluster=terms.cluster), estimator=RAW),
        }
    estimates["difference"] = {
        name: estimates["policy"][name] - estimates["reference"][name] for name in estimates["policy"]
    }
    shared = overlap_of(ready.terms, estimator, rows, ready.population)
    thin = thin_overlap(shared)
    if thin is not None:
        warnings.warn(f"{rows.source}: {thin}", OverlapWarning, stacklevel=2)
    carried = {
        who: _transport(judged[who], estimator, of_rows, rows, level, seed)
        for who, one in drawn.items()
        if not one.logged
    }
    return JudgedEvaluation(estimates, estimator, level, shared, calibration, carried, outside, int(rows.rated.sum()))


class _Asked:
    """A judge that is asked once for each pair of a prompt and a text, and whose answers are checked."""

    def __init__(self, judge: Score) -> None:
        self._judge = judge
        self._known: dict[tuple[str | None, str], float] = {}

    def __call__(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        pairs = list(zip(repeat(None) if prompts is None else prompts, texts, strict=False))
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._known))
        if new:
            asked = None if prompts is None else [str(prompt) for prompt, _ in new]
            found = np.asarray(self._judge(asked, [text for _, text in new]), dtype=np.float64)
            if found.shape != (len(new),):
                raise ModelError(f"the judge returned scores of shape {found.shape} for {len(new)} texts")
            if not np.isfinite(found).all():
                text = new[int(np.argmin(np.isfinite(found)))][1]
                raise ModelError(f"the judge's score of {text[:60]!r} is not a finite number")
            self._known.update(zip(new, found.tolist(), strict=True))
        return np.array([self._known[pair] for pair in pairs], dtype=np.float64)


def _scores_of_rows(rows: DirectOutcomeDataset, judge: _Asked, all_rows: bool) -> Float64:
    """Scores of the logged texts, shape [n]; of rows without an outcome only if ``all_rows``."""
    some = np.arange(len(rows)) if all_rows else np.flatnonzero(rows.rated)
    if not len(some):
        raise DataError(f"{rows.source}: no row has an outcome")
    found = judge(None if rows.prompts is None else [rows.prompts[i] for i in some], [rows.texts[i] for i in some])
    scores = np.full(len(rows), found.mean())  # their rows have no weight: any number will do
    scores[some] = found
    return scores


def _outside(rows: DirectOutcomeDataset, population: Population, of_rows: Float64, drawn: Float64, seed: int) -> float:
    """Share of a policy's scores that are unlike those of the rows with an outcome."""
    known = of_rows[rows.rated]
    beyond = (drawn < known.min()) | (drawn > known.max())
    rated = rows.subset(rows.rated)
    ways = rated.cluster(population)
    try:
        unlike = outside_draws(
            known[:, None],
            drawn[:, None],
            weight=rated.weight,
            cluster=ways[0] if isinstance(ways, tuple) else ways,
            seed=seed,
        )
    except DataError:  # a single unit, on which no classifier can be evaluated
        unlike = beyond
    return float(np.mean(beyond | unlike))


def _calibrate(pseudo: PseudoOutcomes, terms: PolicyTerms, of_rows: Float64) -> tuple[CalibratedScores, Float64]:
    """Calibrate to y - m + g, shape [n], with weights s / p(observed): their mean given a text is that of xi."""
    rows = pseudo.dataset
    adjusted = pseudo.error + pseudo.g
    s = pseudo.s if pseudo.corrected else np.ones(len(rows))
    found = calibrate_scores(
        of_rows,
        adjusted,
        fold=pseudo.fold,
        observed=rows.rated,
        weight=rows.weight * s * pseudo.observation_weight,
        cluster=terms.cluster,
    )
    return found, adjusted


def _with_scores(
    terms: PolicyTerms,
    estimator: str,
    calibration: CalibratedScores,
    adjusted: Float64,
    rows: DirectOutcomeDataset,
    drawn: Draws,
    scores: Float64,
    judge: _Asked,
) -> PolicyTerms:
    """Return the terms with the calibrated score in the place of the dose response g and of the outcome model m."""
    alpha = _weights(terms, estimator)
    fold_of = _fold_of_texts(rows, calibration.fold)

    def calibrated(prompts: Sequence[str] | None, texts: Sequence[str], of_texts: Float64) -> Float64:
        pairs = zip(repeat(None) if prompts is None else prompts, texts, strict=False)
        fold = np.array([fold_of.get(pair, -1) for pair in pairs])
        return calibration.at(of_texts, alpha * rows.weight, fold)

    if drawn.logged:
        judged = replace(drawn, g=calibration.of_rows, mean=None, exact=None)
    else:
        mean = None
        if drawn.support is not None:
            texts, share = drawn.support
            mean = float(share @ calibrated(None, texts, judge(None, texts)))
        judged = replace(drawn, g=calibrated(drawn.prompts, drawn.texts, scores), mean=mean, exact=None)
    error = np.where(rows.rated, adjusted - calibration.of_rows, 0.0)
    return replace(terms, error=error, g=calibration.of_rows, draws=judged)


def _weights(terms: PolicyTerms, estimator: str) -> Float64:
    """Weights of the outcomes, up to a positive factor, shape [n]."""
    log_size, sign = terms.weights_of(estimator)
    return np.asarray(np.exp(log_size - log_size.max()) * sign, dtype=np.float64)


def _fold_of_texts(rows: DirectOutcomeDataset, fold: Int64) -> dict[tuple[str | None, str], int]:
    """Fold of each logged text (given its prompt); -1 for one whose rows are in several."""
    found: dict[tuple[str | None, str], int] = {}
    pairs = zip(repeat(None) if rows.prompts is None else rows.prompts, rows.texts, strict=False)
    for pair, k in zip(pairs, fold.tolist(), strict=True):
        if found.setdefault(pair, k) != k:
            found[pair] = -1
    return found


def _transport(
    judged: PolicyTerms, estimator: str, of_rows: Float64, rows: DirectOutcomeDataset, level: float, seed: int
) -> Transport:
    alpha = _weights(judged, estimator)
    return transport(
        alpha / np.average(alpha, weights=rows.weight),
        judged.error,
        of_rows,
        np.array([len(text) for text in rows.texts], dtype=np.float64),
        observed=rows.rated,
        weight=judged.weight,
        cluster=judged.cluster,
        level=level,
        seed=seed,
    )
