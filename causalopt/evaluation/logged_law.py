"""Comparison of logged and drawn texts: whether q fits the logged ones, and whether these cover the policy's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from causalopt.backends.contracts import EnumerablePolicy
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import Population
from causalopt.diagnostics.behavior_fit import BehaviorFit, behavior_fit
from causalopt.diagnostics.support import Support, outside_draws, support
from causalopt.errors import DataError
from causalopt.estimators.cluster import pair_codes
from causalopt.evaluation.policies import Draws, ModelPolicy, Subject
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, BehaviorPolicy

ROWS_PER_TEXT = 5
"""Mean number of rows of a logged text above which it is known by its own rows; below, embeddings share strength."""
NOTEWORTHY, MOST = 0.1, 0.5
"""Shares of a policy's texts outside of the logged ones above which they are reported, and nothing is concluded."""


@dataclass(frozen=True)
class LoggedLaw:
    """Results on the distribution of the logged texts.

    Attributes
    ----------
    source:
        The q that the ratios are based on.
    fit:
        Fit of the reference used as q; None if q is not a model that writes texts, or no texts were drawn from it.
    support, reference_support:
        Overlap of the policy with the logged texts, and of the reference if it is neither a model nor the logs; None if
        it chooses among known texts, or no texts were drawn.
    unlogged:
        Where few texts were logged (`few_texts`): for each listed policy that has some, the probability of its texts
        that were never logged with an outcome. These are known from other texts alone.
    """

    source: BehaviorPolicy
    fit: BehaviorFit | None = None
    support: Support | None = None
    reference_support: Support | None = None
    unlogged: Mapping[str, float] = field(default_factory=dict)
    unknown: str | None = None
    """Reason why one of them could not be measured."""

    def notes(self, ratios: bool = True) -> tuple[str, ...]:
        """Sentences that a reader of the value must see; ``ratios`` is whether it weights by ratios to q."""
        said = []
        if self.fit is not None and (
            self.fit.judgement in ("questionable", "unclear") or (self.fit.bars_finding and not ratios)
        ):
            said.append(self.fit.sentence)
        said.extend(sentence for share, sentence in self._outside() if NOTEWORTHY < share <= MOST)
        if self.unknown is not None:
            said.append(f"How the logged texts compare with what the policies write is not known: {self.unknown}.")
        return tuple(said)

    def barred(self, ratios: bool = True) -> tuple[str, ...]:
        """Reasons why no gain or harm is concluded; ``ratios`` is whether the value weights by ratios to q."""
        said = []
        if ratios and self.fit is not None and self.fit.bars_finding:
            said.append(self.fit.sentence)
        said.extend(sentence for share, sentence in self._outside() if share > MOST)
        return tuple(said)

    def _outside(self) -> list[tuple[float, str]]:
        """Share of each policy's texts outside of the logged ones, with a sentence."""
        found = []
        if self.support is not None:
            found.append((self.support.outside, self.support.sentence))
        if self.reference_support is not None:
            found.append((self.reference_support.outside, f"For the reference: {self.reference_support.sentence}"))
        for who, share in self.unlogged.items():
            found.append(
                (
                    share,
                    f"{share:.0%} of what the {who} writes was never logged: its value is extrapolated from other "
                    "texts, and these data cannot vouch for it.",
                )
            )
        return found


def look_at_logged_law(
    pseudo: PseudoOutcomes,
    source: BehaviorPolicy,
    q: Subject,
    q_draws: Draws | None,
    subjects: Mapping[str, Subject],
    drawn: Mapping[str, Draws | None],
    population: Population,
    seed: int,
) -> LoggedLaw:
    """Compare the logged texts with texts of the reference used as q, and with the policy's.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the evaluation rows, on which the reference was not tuned.
    source:
        The q that the ratios are based on.
    q, q_draws:
        The reference used as q, and its texts.
    subjects, drawn:
        The "policy" and the "reference", and their texts.
    population:
        Whether texts and prompts are drawn or fixed.
    seed:
        Seed of the classifiers' folds.
    """
    data = pseudo.dataset
    cluster = _cluster(data, population)
    fit: BehaviorFit | None = None
    reach: dict[str, Support] = {}
    few = few_texts(data)
    unlogged = _unlogged(data, subjects, drawn) if few else {}

    def law(unknown: str | None = None) -> LoggedLaw:
        return LoggedLaw(source, fit, reach.get("policy"), reach.get("reference"), unlogged, unknown)

    try:
        if source == "reference" and q_draws is not None and _writes(q):
            x, x_q = pseudo.fitted().embed_together(data.prompts, data.texts, q_draws.prompts, q_draws.texts)
            fit = behavior_fit(x, x_q, weight=data.weight, cluster=cluster, row=q_draws.row, seed=seed)
        for who, texts in drawn.items():
            if texts is None or texts.logged or not _is_measured(subjects[who], who):
                continue
            if few and is_listed(subjects[who]):
                continue  # counted one by one
            x, x_policy = pseudo.fitted().embed_together(data.prompts, data.texts, texts.prompts, texts.texts)
            reach[who] = support(x, x_policy, weight=data.weight, cluster=cluster, row=texts.row, seed=seed)
    except DataError as error:  # for example a single unit, on which no classifier can be evaluated
        return law(str(error))
    return law()


def outside_of_logged(pseudo: PseudoOutcomes, drawn: Draws, population: Population, seed: int) -> Array | None:
    """Whether each text that models wrote lies outside of the logged texts' support, shape [m].

    None if that cannot be measured, for example with a single logged text.
    """
    data = pseudo.dataset
    try:
        x, x_drawn = pseudo.fitted().embed_together(data.prompts, data.texts, drawn.prompts, drawn.texts)
        return outside_draws(
            x, x_drawn, weight=data.weight, cluster=_cluster(data, population), row=drawn.row, seed=seed
        )
    except DataError:
        return None


def _cluster(data: DirectOutcomeDataset, population: Population) -> Array | None:
    ways = data.cluster(population)
    return pair_codes(*ways) if isinstance(ways, tuple) else ways


def _is_measured(subject: Subject, who: str) -> bool:
    """Whether a policy's texts may be unlike the logged ones: a model as the reference is judged by the fit of q."""
    if isinstance(subject, ModelPolicy):
        return is_listed(subject) or (who == "policy" and _writes(subject))
    return True


def is_listed(subject: Subject) -> bool:
    """Whether a policy is a list of texts, and so neither a model nor the one that wrote the logs."""
    return isinstance(subject, ModelPolicy) and isinstance(subject.policy, ListedPolicy)


def few_texts(data: DirectOutcomeDataset) -> bool:
    """Whether each text was logged so often that it is known by its own rows; never with prompts."""
    return data.prompts is None and len(data) >= ROWS_PER_TEXT * len(set(data.texts))


def _unlogged(
    data: DirectOutcomeDataset, subjects: Mapping[str, Subject], drawn: Mapping[str, Draws | None]
) -> dict[str, float]:
    """Probability of the texts that were never logged, for each listed policy that has some."""
    counts = data.rated & (data.weight > 0)
    known, found = {text for text, one in zip(data.texts, counts, strict=True) if one}, {}
    for who, texts in drawn.items():
        if texts is not None and texts.support is not None and is_listed(subjects[who]):
            listed, probability = texts.support
            share = float(sum(p for text, p in zip(listed, probability, strict=True) if text not in known))
            if share > 0:
                found[who] = share
    return found


def _writes(subject: Subject) -> bool:
    """Whether the policy writes new texts, rather than choosing among known ones."""
    return not (isinstance(subject, ModelPolicy) and isinstance(subject.policy, EnumerablePolicy))
