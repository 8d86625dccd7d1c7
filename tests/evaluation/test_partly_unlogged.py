"""A policy that writes, in part, what nobody logged: sentences of four slots, of which it may fill one twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.backends.finite import FinitePolicy
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data.population import FIXED
from causalopt.evaluation import judge
from causalopt.evaluation.evaluate import evaluate
from causalopt.optimization.frontier import frontier
from causalopt.optimization.path import at

SLOTS = [[f"{letter}{end}" for end in ("ka", "lo", "mi", "nu", "pe", "ri")] for letter in "bdgt"]
ROWS = 1200


class Writer:
    """One word of each slot; with probability ``astray`` a second one of the first slot in place of the second's."""

    def __init__(self, logits: Sequence[np.ndarray], astray: float) -> None:
        laws = [one - np.logaddexp.reduce(one) for one in logits]
        self.log_p = [dict(zip(slot, law, strict=True)) for slot, law in zip(SLOTS, laws, strict=True)]
        self.astray = astray

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        words = [rng.choice(list(law), n, p=np.exp(list(law.values()))) for law in self.log_p]
        again = rng.choice(list(self.log_p[0]), n, p=np.exp(list(self.log_p[0].values())))
        words[1] = np.where(rng.random(n) < self.astray, again, words[1])
        return [" ".join(text) for text in zip(*words, strict=True)]

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._log_prob(text.split()) for text in texts])

    def _log_prob(self, words: Sequence[str]) -> float:
        strays = words[1] in self.log_p[0]
        second = self.log_p[0 if strays else 1][words[1]] + np.log(self.astray if strays else 1 - self.astray)
        return second + sum(self.log_p[k][words[k]] for k in (0, 2, 3))


def values(worth: Mapping[str, float], texts: Sequence[str]) -> np.ndarray:
    return np.array([sum(worth[word] for word in text.split()) for text in texts])


def evaluated(seed: int):
    """The evaluation by defaults of a policy that strays in 15% of its texts, on logs without any, and the truth."""
    rng = np.random.default_rng(seed)
    worth = {word: value for slot in SLOTS for word, value in zip(slot, rng.normal(0.0, 0.5, 6), strict=True)}
    logits = [rng.normal(0.0, 0.3, 6) for _ in SLOTS]
    tilted = [one + 0.9 * np.array([worth[word] for word in slot]) for one, slot in zip(logits, SLOTS, strict=True)]
    reference, policy = Writer(logits, 0.01), Writer(tilted, 0.15)
    texts = [text for text in reference.sample(None, ROWS + 100, seed) if text.split()[1] not in SLOTS[0]][:ROWS]
    age = 0.5 * values(worth, texts) + rng.normal(size=ROWS)  # readers choose their texts
    outcome = values(worth, texts) + 0.7 * age + rng.normal(0.0, 0.5, ROWS)
    frame = pd.DataFrame({"text": texts, "age": age, "outcome": outcome})
    data = co.DirectOutcomeDataset.from_frame(frame, text="text", outcome="outcome", covariates=["age"])
    found = evaluate(policy, data, reference=reference, estimators=["balance"], draws=500)
    new, old = (values(worth, one.sample(None, 100_000, seed)).mean() for one in (policy, reference))
    return found, new - old


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_what_no_row_can_tell_does_not_take_the_interval_away():
    """Intervals no wider than 0.45 for gains of 0.5 to 1; at least 2 of 3 cover (failure probability 0.007)."""
    found, truth = zip(*[evaluated(seed) for seed in range(200, 203)], strict=True)
    intervals = np.array([one.difference.confint() for one in found])
    assert np.diff(intervals).max() < 0.45
    assert np.sum((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])) >= 2
    assert all(30 <= one.overlap.ess < 150 for one in found)  # 2 to 8 without a limit, in two of three
    assert all("lie outside of what was logged" in " ".join(one.notes) for one in found)


@pytest.fixture(scope="module")
def notes():
    """Pseudo-outcomes of 800 readers of 500 notes of ten words out of 80, each word with a worth of its own."""
    rng = np.random.default_rng(6)
    ends = ("an", "el", "io", "ur", "ash", "ete", "ow", "ig", "yx", "ozu")
    words = np.array([first + last for first in "bdfgklmp" for last in ends])
    texts = [" ".join(row) for row in rng.choice(words, size=(500, 10))]
    shown = rng.integers(0, 500, 800)
    worth = dict(zip(words, rng.normal(0.0, 0.3, len(words)), strict=True))
    value = values(worth, texts)
    frame = pd.DataFrame({"text": np.array(texts)[shown], "age": rng.normal(size=800)})
    frame["outcome"] = value[shown] + frame["age"] + rng.normal(size=800)
    data = co.DirectOutcomeDataset.from_frame(frame, text="text", outcome="outcome", covariates=["age"])
    return co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(data.with_population(FIXED)), texts, value


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
class TestOneTextForEver:
    """Of 500 notes, a policy that writes one alone: weights that resemble it would have to extrapolate."""

    def test_nothing_is_concluded_of_it(self, notes):
        pseudo, texts, value = notes
        best = texts[int(np.argmax(value))]
        found = evaluate(
            ListedPolicy([best], [1.0]),
            pseudo,
            reference=ListedPolicy(texts, np.full(500, 1 / 500)),
            estimators=["balance"],
            behavior_policy="frequency",
            groups=["age"],
        )
        assert 0.2 < found.overlap.unbalanced < 1
        assert judge(found.difference, found.overlap).outlook == "unclear"
        assert found.groups is not None
        groups = found.groups.frame
        left_out = groups["reason"].fillna("").str.contains("that do not extrapolate")
        assert left_out.any()
        assert groups.loc[left_out, "gain"].isna().all()
        assert groups["thin"].all()

    def test_a_path_is_followed_to_what_the_rows_tell(self, notes):
        """A point beyond 4 nats may be chosen, as long as 20 effective rows are left: its interval holds."""
        pseudo, texts, value = notes
        even = np.full(500, -np.log(500))
        reference, end = (FinitePolicy(texts, even, value[:, None], np.full(1, size)) for size in (0.0, 8.0))
        found = frontier(end, reference, pseudo).frame
        assert found.loc[found["ess"] < 20, "barred"].str.contains("too thin").all()
        assert not found.loc[found["barred"].notna(), "chosen"].any()
        (chosen,) = found[found["chosen"]].itertuples()
        share = np.exp(at(end, reference, chosen.factor).distribution(None)[1])
        assert abs(chosen.gain - (share @ value - np.mean(value))) < 1.96 * chosen.se
