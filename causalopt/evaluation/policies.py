"""The policies to evaluate: a model, a policy given by numbers alone, or the logs themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from causalopt.backends.contracts import ChoiceSetPolicy, EnumerablePolicy, Policy
from causalopt.backends.optimized import OptimizedPolicy
from causalopt.data import files
from causalopt.data.choice_sets import ChoiceSets
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.messages import split_messages
from causalopt.data.population import CHOICE, DRAWN, FIXED, Population
from causalopt.errors import DataError
from causalopt.estimators.dm import ContextDraws, WeightedDraws
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Float64, Int64

MOST_PAIRS = 2_000_000
"""Largest number of pairs of a row and a text for which a policy over known texts is summed in every row."""
PROMPTS_AT_ONCE = 256


@dataclass(frozen=True)
class Draws:
    """Texts drawn from a policy, with their dose response under the rows' nuisances.

    Attributes
    ----------
    texts, prompts:
        m draws: independent ones without prompts, else each for the prompt of a row.
    g:
        Shape [m], outcome units: without prompts the mean over all readers, else the response of the row's own reader.
    row:
        Position of the row of each draw, shape [m]; None for independent ones.
    logged:
        Whether they are the logged texts themselves, whose g comes from models that were not fitted on them.
    exact:
        For a policy over known texts: the sum over all of them, or over each row's, in place of a mean over draws.
    support:
        All texts of a policy over known texts and their probabilities, without prompts; None for any other policy.
    weight:
        Weight of each text, shape [m], if they are those of several policies (`SharedDraws`): every mean over them is
        weighted. With prompts its mean is the same in every row, and it may be negative. None for the policy's own.
    """

    texts: list[str]
    prompts: list[str] | None
    g: Float64
    row: Int64 | None = None
    logged: bool = False
    exact: Callable[[PseudoOutcomes], float | ContextDraws] | None = None
    mean: float | ContextDraws | None = None
    support: tuple[list[str], Float64] | None = None
    weight: Float64 | None = None

    @classmethod
    def of(
        cls,
        pseudo: PseudoOutcomes,
        texts: list[str],
        row: Int64 | None = None,
        exact: Callable[[PseudoOutcomes], float | ContextDraws] | None = None,
        support: tuple[list[str], Float64] | None = None,
    ) -> Draws:
        """Compute the dose response of texts by the nuisances of ``pseudo``; with prompts, each belongs to a row."""
        known = pseudo.dataset.prompts
        if known is None:
            g = pseudo.dose_response(texts)
            return cls(texts, None, g, row, exact=exact, mean=exact and exact(pseudo), support=support)
        assert row is not None
        g = pseudo.row_response(texts, row)
        return cls(texts, [known[i] for i in row], g, row, exact=exact, mean=exact and exact(pseudo))

    def with_response_of(self, pseudo: PseudoOutcomes) -> Draws:
        """Return the same texts with the dose response of other nuisances."""
        if self.logged:
            return replace(self, g=pseudo.g)
        return replace(Draws.of(pseudo, self.texts, self.row, self.exact, self.support), weight=self.weight)

    def among(self, rows: Int64, pseudo: PseudoOutcomes) -> Draws:
        """Return the draws as the readers of some rows, at positions ``rows``, respond to them.

        Without prompts all texts, with the dose response among these readers; with prompts the texts that were drawn
        for these rows.
        """
        if self.prompts is not None:
            assert self.row is not None
            kept = np.flatnonzero(np.isin(self.row, rows))
            mean = self.mean
            if isinstance(mean, ContextDraws):
                own = np.isin(mean.row, rows)
                mean = ContextDraws(mean.g[own], mean.row[own], mean.n)
            chosen = [self.texts[j] for j in kept], [self.prompts[j] for j in kept]
            weight = None if self.weight is None else self.weight[kept]
            return Draws(*chosen, self.g[kept], self.row[kept], self.logged, mean=mean, weight=weight)
        g = pseudo.dose_response_of(rows, self.texts)
        mean = None
        if self.support is not None:
            texts, share = self.support
            mean = float(share @ pseudo.dose_response_of(rows, texts))
        return Draws(self.texts, None, g, self.row, self.logged, mean=mean, support=self.support, weight=self.weight)

    def share(self, exposure: Float64) -> Float64:
        """Share of each text in a mean over them, shape [m], summing to one; ``exposure`` is that of the rows, [n]."""
        share = np.ones(len(self.texts)) if self.row is None else exposure[self.row]
        share = share if self.weight is None else share * self.weight
        return np.asarray(share / share.sum(), dtype=np.float64)

    def for_plug_in(self, n: int) -> float | Float64 | ContextDraws | WeightedDraws:
        """Return g in the form that estimators on ``n`` rows take."""
        if self.mean is not None:
            return self.mean
        if self.row is not None:
            return ContextDraws(self.g, self.row, n, self.weight)
        if self.weight is None:
            return self.g
        return WeightedDraws(self.g, self.weight, hashlib.sha256("\0".join(self.texts).encode()).hexdigest())

    def sample(self, weight: Float64, seed: int) -> tuple[list[str], list[str] | None]:
        """Texts and prompts of equal weight; they are resampled if they, or their rows' ``weight``, [n], differ.

        Without prompts, that is: texts weighted in the contexts of rows may have negative weights.
        """
        if self.weight is None and (self.row is None or np.ptp(weight) == 0):
            return self.texts, self.prompts
        rng = np.random.default_rng(seed)
        share = self.share(weight)
        if share.min() < 0:
            raise DataError("texts with negative weights cannot be resampled: draw the policy's own")
        chosen = rng.choice(len(self.texts), size=len(self.texts), p=share)
        prompts = None if self.prompts is None else [self.prompts[i] for i in chosen]
        return [self.texts[i] for i in chosen], prompts


class Subject(Protocol):
    """What an evaluation needs from a policy; None if it is not available."""

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        """log P(x_i | c_i) of the logged texts, shape [n], nats."""
        ...

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int, row: Int64 | None = None) -> Draws | None:
        """Texts of the policy: if drawn here, ``n`` of them, or one in the context of each of ``row``."""
        ...


def context_rows(data: DirectOutcomeDataset, draws: int, seed: int) -> Int64 | None:
    """Rows in whose contexts texts are drawn, about ``draws`` of them; None without prompts.

    The contexts are a sample, as the rows are, and through the rows their sampling enters the standard error. Two
    policies share their contexts, so that their difference is one in the same contexts.
    """
    if data.prompts is None:
        return None
    if draws < len(data):
        return np.sort(np.random.default_rng(seed).choice(len(data), draws, replace=False))
    return np.repeat(np.arange(len(data)), draws // len(data))


@dataclass(frozen=True)
class ModelPolicy:
    """A policy that can be called."""

    policy: Policy

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        return self.policy.log_prob(data.prompts, data.texts)

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int, row: Int64 | None = None) -> Draws | None:
        known = pseudo.dataset.prompts
        prompts = None if known is None or row is None else [known[i] for i in row]
        texts = self.policy.sample(prompts, n if row is None else len(row), seed)
        exact = support = None
        if isinstance(self.policy, EnumerablePolicy):
            exact = _summed(self.policy, pseudo.dataset)
            if known is None:
                all_texts, log_prob = self.policy.distribution(None)
                support = all_texts, np.exp(log_prob)
        elif isinstance(self.policy, ChoiceSetPolicy):
            exact = _summed_choices(self.policy, pseudo.dataset)
        return Draws.of(pseudo, texts, row, exact, support)


@dataclass(frozen=True)
class ExternalPolicy:
    """A policy given by numbers that were computed elsewhere.

    Its log-probabilities of the logged texts are the data set's column ``policy_log_prob``. Its own texts, which the
    estimators with a plug-in part need, are given here, or are the data set's column ``policy_text``.

    Parameters
    ----------
    texts, prompts:
        Independent draws; if the data have prompts, the draws must have prompts too, and these must occur in the data.

    Examples
    --------
    >>> from causalopt.evaluation.policies import ExternalPolicy
    >>> ExternalPolicy(["give now", "join us"]).texts
    ('give now', 'join us')
    """

    texts: Sequence[str] | None = None
    prompts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("texts", "prompts"):
            values = getattr(self, name)
            object.__setattr__(self, name, None if values is None else tuple(values))

    @classmethod
    def from_path(cls, path: str | Path, *, text: str = "text", prompt: str | None = None) -> ExternalPolicy:
        """Read draws from a table with a column of texts, and one of prompts if the data have prompts.

        Raises
        ------
        DataError
            If a column is missing, or a draw is empty.
        """
        return cls.from_frame(files.read_table(Path(path)), text=text, prompt=prompt, source=str(path))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, text: str, prompt: str | None, source: str) -> ExternalPolicy:
        """Take draws from a table, as `from_path` does; ``source`` is its name in messages."""
        frame, prompt = split_messages(frame, text, prompt, source)
        files.check_texts(frame, [text] if prompt is None else [text, prompt], source)
        return cls(frame[text].tolist(), None if prompt is None else frame[prompt].tolist())

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        return data.policy_log_prob

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int, row: Int64 | None = None) -> Draws | None:
        data = pseudo.dataset
        if self.texts is None:
            if data.policy_text is None:
                return None
            return Draws.of(pseudo, data.policy_text, np.arange(len(data)))
        if (self.prompts is None) != (data.prompts is None):
            raise DataError(f"the texts drawn elsewhere must have prompts if and only if {data.source} has them")
        if self.prompts is None:
            return Draws.of(pseudo, list(self.texts))
        chosen, rows = _spread(pseudo.rows_of_prompts(list(dict.fromkeys(self.prompts))), self.prompts)
        return Draws.of(pseudo, [self.texts[j] for j in chosen], rows)


@dataclass(frozen=True)
class ScoredPolicy:
    """A policy that another system knows: its texts, or its log-probabilities of the logged texts, or both.

    Unlike those of `ExternalPolicy`, the numbers are not columns of the data, so that two of them can be compared.

    Parameters
    ----------
    drawn:
        Texts drawn from it, or None.
    log_probs:
        log P(x | c), nats, by pair of prompt (None without prompts) and logged text; -inf for a text that it never
        writes. None if they are unknown.
    source:
        Name in error messages.

    Examples
    --------
    >>> from causalopt.evaluation.policies import ExternalPolicy, ScoredPolicy
    >>> ScoredPolicy(ExternalPolicy(["give now", "join us"])).log_probs is None
    True
    """

    drawn: ExternalPolicy | None = None
    log_probs: Mapping[tuple[str | None, str], float] | None = None
    source: str = "the policy"

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, drawn: ExternalPolicy | None, *, text: str, prompt: str | None, source: str
    ) -> ScoredPolicy:
        """Read log-probabilities from a table with columns of texts, of prompts if the data have any, and ``log_prob``.

        Raises
        ------
        DataError
            For a text without, or with two log-probabilities, and one that is not a number of at most 0 or -inf.
        """
        files.check_texts(frame, [text] if prompt is None else [text, prompt], source)
        prompts = [None] * len(frame) if prompt is None else frame[prompt].tolist()
        found: dict[tuple[str | None, str], float] = {}
        for i, (pair, cell) in enumerate(zip(zip(prompts, frame[text], strict=True), frame["log_prob"], strict=True)):
            try:
                value = files.number(cell)
            except ValueError as error:
                raise DataError(f"{source}: column 'log_prob', row {i + 1}: {error}") from None
            if not value <= 0:
                raise DataError(
                    f"{source}: column 'log_prob', row {i + 1} is {value:g}: a log-probability in nats is at most 0 "
                    "(-inf for a text that the policy never writes)"
                )
            if found.setdefault(pair, value) != value:
                raise DataError(f"{source}: row {i + 1}: {pair[1][:60]!r} has two different log-probabilities")
        return cls(drawn, found, source)

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        if self.log_probs is None:
            return None
        prompts = [None] * len(data) if data.prompts is None else data.prompts
        pairs = list(zip(prompts, data.texts, strict=True))
        missing = next((pair for pair in pairs if pair not in self.log_probs), None)
        if missing is not None:
            raise DataError(
                f"{self.source}: has no log-probability of the logged text {missing[1][:60]!r}: add a row for it "
                "(-inf if the policy never writes it)"
            )
        return np.array([self.log_probs[pair] for pair in pairs])

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int, row: Int64 | None = None) -> Draws | None:
        return None if self.drawn is None else self.drawn.draw(pseudo, n, seed, row)


@dataclass(frozen=True)
class LoggedPolicy:
    """The policy that wrote the logs: its ratio is 1, and its texts are the logged ones."""

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        return data.logged_log_prob

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int, row: Int64 | None = None) -> Draws | None:
        data = pseudo.dataset
        return Draws(data.texts, data.prompts, pseudo.g, np.arange(len(data)), logged=True)


NOT_CALLED = (ExternalPolicy, ScoredPolicy, LoggedPolicy)
Evaluable = Policy | ExternalPolicy | ScoredPolicy | LoggedPolicy
"""What can be evaluated: a policy that can be called, one known by numbers, or the one that wrote the logs."""


@dataclass(frozen=True)
class _OverTexts:
    """The sum over all texts of a policy without prompts, for any nuisances; a class, so that it can be pickled."""

    texts: list[str]
    log_prob: Float64

    def __call__(self, pseudo: PseudoOutcomes) -> float:
        return float(np.exp(self.log_prob) @ pseudo.dose_response(self.texts))


@dataclass(frozen=True)
class _OverPairs:
    """The sum over the texts of each of ``n`` rows, text j with its probability in row ``row[j]``."""

    texts: list[str]
    probability: Float64
    row: Int64
    n: int

    def __call__(self, pseudo: PseudoOutcomes) -> ContextDraws:
        response = self.probability * pseudo.row_response(self.texts, self.row)
        total = np.bincount(self.row, weights=response, minlength=self.n).astype(np.float64)
        return ContextDraws(total, np.arange(self.n), self.n)


def _summed(
    policy: EnumerablePolicy, data: DirectOutcomeDataset
) -> Callable[[PseudoOutcomes], float | ContextDraws] | None:
    """Sum over all texts of a policy, for any nuisances of the rows; None if there are too many pairs."""
    if data.prompts is None:
        texts, log_prob = policy.distribution(None)
        return _OverTexts(texts, log_prob)
    prompt, distinct = pd.factorize(pd.Series(data.prompts))
    answers = _answers(policy, list(distinct))
    if answers is None:
        return None
    rows = np.repeat(np.arange(len(data)), [len(answers[i][0]) for i in prompt])
    if len(rows) > MOST_PAIRS:
        return None
    texts = [text for i in prompt for text in answers[i][0]]
    probability = np.concatenate([answers[i][1] for i in prompt])
    return _OverPairs(texts, probability, rows.astype(np.int64), len(data))


def _answers(policy: EnumerablePolicy, prompts: Sequence[str]) -> list[tuple[list[str], Float64]] | None:
    """Texts that have a probability, and these, for each prompt; None if there are too many.

    Prompts may have candidates of their own: no table of all prompts by all texts is formed.
    """
    found: list[tuple[list[str], Float64]] = []
    pairs = 0
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        texts, log_prob = policy.distribution(prompts[start : start + PROMPTS_AT_ONCE])
        for row in np.exp(log_prob):
            kept = np.flatnonzero(row)
            found.append(([texts[j] for j in kept], row[kept]))
            pairs += len(kept)
        if pairs > MOST_PAIRS:
            return None
    return found


def _summed_choices(
    policy: ChoiceSetPolicy, data: DirectOutcomeDataset
) -> Callable[[PseudoOutcomes], ContextDraws] | None:
    """Sum over the candidates of each row's prompt, for any nuisances of the rows; None if there are too many."""
    if data.prompts is None:
        raise DataError(f"{data.source}: the policy chooses among each prompt's own candidates, and the rows have none")
    texts, log_prob, row = policy.choices(data.prompts)
    if len(texts) > MOST_PAIRS:
        return None
    return _OverPairs(texts, np.exp(log_prob), row, len(data))


def _spread(rows: Sequence[Int64], prompts: Sequence[str]) -> tuple[Int64, Int64]:
    """Assign draws made for prompts to the rows with these prompts: positions of draws, and the row of each.

    Every row of a prompt gets at least one draw, and every draw a row; whichever of the two is fewer is reused.
    """
    draws = pd.Series(prompts).groupby(pd.Series(prompts), sort=False).indices
    chosen, of_row = [], []
    for own, of_prompt in zip(draws.values(), rows, strict=True):
        turns = np.arange(max(len(own), len(of_prompt)))
        chosen.append(np.asarray(own)[turns % len(own)])
        of_row.append(of_prompt[turns % len(of_prompt)])
    return np.concatenate(chosen).astype(np.int64), np.concatenate(of_row).astype(np.int64)


def population_of(*subjects: Subject) -> Population:
    """Return the population of the policies' values: drawn texts, unless all choose among known ones.

    If these are each prompt's own candidates, prompts are drawn; else prompts and texts are fixed. The texts as logged
    are of any population, and follow the policy that they are compared with.
    """
    asked = [subject for subject in subjects if not isinstance(subject, LoggedPolicy)]
    called = [subject.policy for subject in asked if isinstance(subject, ModelPolicy)]
    if not asked or len(called) < len(asked):
        return DRAWN
    if all(isinstance(policy, ChoiceSetPolicy) for policy in called):
        return CHOICE
    return FIXED if all(isinstance(policy, EnumerablePolicy) for policy in called) else DRAWN


def over_choices_of(policy: Policy, data: DirectOutcomeDataset) -> Policy:
    """Let a policy that chooses among each prompt's own candidates answer the rows' prompts; others are unchanged.

    The candidates of a prompt that the policy does not know are the texts logged with it.
    """
    if not isinstance(policy, ChoiceSetPolicy) or data.prompts is None:
        return policy
    return policy.answering(ChoiceSets.logged(data.prompts, data.texts, data.weight))


def as_subject(policy: Evaluable) -> ModelPolicy | ExternalPolicy | ScoredPolicy | LoggedPolicy:
    """Wrap a policy that can be called; other policies are returned unchanged."""
    if isinstance(policy, OptimizedPolicy):
        policy = policy.policy
    return policy if isinstance(policy, NOT_CALLED) else ModelPolicy(policy)
