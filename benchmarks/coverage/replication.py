"""One table: the differences of three policies from their reference, on the default path of a user."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import causalopt as co
from benchmarks.coverage.generators import GENERATORS, NOISE, Generator, hidden
from benchmarks.coverage.laws import Law, Matrix, Population, finite_policy, matrix_of
from benchmarks.coverage.oracle import all_knowing, strength
from causalopt.behavior import BehaviorPolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import DRAWN, FIXED
from causalopt.diagnostics.verdict import judge
from causalopt.errors import CausalOptWarning
from causalopt.estimators.names import FOR_ADAPTIVE_LOGS
from causalopt.evaluation.evaluate import Evaluation, evaluate
from causalopt.evaluation.policies import ExternalPolicy
from causalopt.pseudo_outcome import PseudoOutcomeEstimator
from causalopt.typing import Float64, Int64

HEADLINE = "balance"
ESTIMATORS = (HEADLINE, "sndr", "dr", "mdr")
KL = 0.3
"""KL of a built policy to its reference, nats."""
VERDICT = ("warned", "better", "headline", "effective", "unbalanced")
DRAWS = 1000
WRITTEN = 8000
"""Texts drawn from a language model whose mean is taken for its value: within 0.01 of it."""


def replicate(name: str, seed: int) -> list[dict[str, Any]]:
    """One row for each policy and estimator, and for the estimator that knows m, s and q."""
    generator = GENERATORS[name]
    own = seed + (zlib.crc32(name.encode()) << 32)  # no two generators share coefficients or rows
    law = generator.law(np.random.default_rng([own, 0]))
    table = _Table(generator, law, Population(law, own), own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        rows = {"fixed": table.learned, "drawn": table.drawn, "written": table.written}[generator.population]()
    return [{"generator": name, "replication": seed, **row} for row in rows]


class _Table:
    """Rows of a law, and the policies that are evaluated on them."""

    def __init__(self, generator: Generator, law: Law, population: Population, seed: int) -> None:
        self.generator, self.law, self.population, self.seed = generator, law, population, seed
        self.sample = law.sample(generator.rows, np.random.default_rng([seed, 2]))

    def learned(self) -> list[dict[str, Any]]:
        """Evaluate a policy that was learned on training rows, and two that were built, on the test rows."""
        data = self._dataset().with_population(FIXED)
        train, test = data.split(seed=0)
        backend = {"name": "finite", "candidates": self.law.texts}
        policy = co.optimize(PseudoOutcomeEstimator(seed=0).fit_transform(train), backend=backend)
        pseudo = PseudoOutcomeEstimator(seed=0).fit_transform(test)
        reference = matrix_of(policy.reference, self.law)
        rows = self._rows("learned", matrix_of(policy.policy, self.law), reference, test.row,
                          evaluate(policy, pseudo, estimators=ESTIMATORS))  # fmt: skip
        for name, built in self._built(reference, ("no gain", "loss")).items():
            known = finite_policy(self.law, built, self.sample.readers)
            found = evaluate(known, pseudo, reference=policy.reference, estimators=ESTIMATORS)
            rows += self._rows(name, built, reference, test.row, found)
        return rows

    def drawn(self) -> list[dict[str, Any]]:
        """Evaluate three built policies, whose texts are a sample, on all rows."""
        data = self._dataset()
        reference: Matrix = self.population.logged
        if self.generator.q == "misfit":
            astray = np.random.default_rng([self.seed, 4]).normal(size=len(self.law.texts))
            reference = self.population.tilted(reference, lambda w: np.tile(astray, (len(w), 1)), 0.5)
        population, estimators = DRAWN, list(ESTIMATORS)
        if self.generator.q == "bandit":  # its texts are arms
            population, estimators = FIXED, [*FOR_ADAPTIVE_LOGS, *ESTIMATORS]
        pseudo = PseudoOutcomeEstimator(seed=0).fit_transform(data.with_population(population))
        rows = []
        for name, built in self._built(reference, ("gain", "no gain", "loss")).items():
            given: list[Any] = [finite_policy(self.law, one, self.sample.readers) for one in (built, reference)]
            q: BehaviorPolicy | None = None
            if self.generator.q == "embedding":
                q = "embedding"
                given = [ExternalPolicy(one.sample(None, DRAWS, seed)) for seed, one in enumerate(given)]
            found = evaluate(
                given[0],
                pseudo,
                reference=given[1],
                behavior_policy=q,
                estimators=estimators,
                draws=DRAWS,
                population=population,
            )
            rows += self._rows(name, built, reference, data.row, found)
        return rows

    def written(self) -> list[dict[str, Any]]:
        """Tune a small language model on training rows, and evaluate it on test rows."""
        train, test = self._dataset().split(seed=0)
        backend = {"name": "huggingface", "model": "scratch:tiny"}
        policy = co.optimize(PseudoOutcomeEstimator(seed=0).fit_transform(train), backend=backend)
        found = evaluate(policy, test, estimators=ESTIMATORS)
        values = [self.population.value_of(one.sample(None, WRITTEN, 1)) for one in (policy.policy, policy.reference)]
        return self._estimates(
            {"policy": "learned", "truth": values[0] - values[1], "kl": found.kl.kl if found.kl else np.nan}, found
        )

    def _dataset(self) -> DirectOutcomeDataset:
        frame, roles = self.sample.table(self.law), dict[str, Any](self.law.roles)
        if self.generator.q == "logged":
            row = np.arange(len(frame)), self.sample.text
            log_q, log_p = self.population.logged(self.sample.readers), self.law.log_shown(self.sample.readers)
            frame = frame.assign(log_q=log_q[row], log_p=log_p[row])
            roles |= {"behavior_log_prob": "log_q", "assignment_log_prob": "log_p"}
        if self.law.response is not None:
            roles["on_missing"] = "model"
        return DirectOutcomeDataset.from_frame(
            frame,
            covariates=self.law.covariates,
            direction=self.law.direction,
            adaptive=self.law.bandit is not None,
            **roles,
        )

    def _built(self, reference: Matrix, names: Sequence[str]) -> dict[str, Matrix]:
        """Return policies that gain, gain nothing, and lose, each about 0.3 nats from the reference."""
        population, score = self.population, self.law.score
        noise = np.random.default_rng([self.seed, 3]).normal(size=len(self.law.texts))
        gain = population.tilted(reference, score, KL)
        loss = population.tilted(reference, lambda w: -score(w), KL)
        other = population.tilted(reference, lambda w: np.tile(noise, (len(w), 1)), KL)
        sign = 1 if self.law.direction == "maximize" else -1
        opposite = loss if sign * population.difference(other, reference) > 0 else gain
        policies = {"gain": gain, "no gain": population.without_gain(reference, other, opposite), "loss": loss}
        return {name: policies[name] for name in names}

    def _rows(
        self, name: str, policy: Matrix, reference: Matrix, row: Int64, found: Evaluation
    ) -> list[dict[str, Any]]:
        law, population = self.law, self.population
        sample = self.sample[row]
        weight: Float64 = sample.readers[law.roles["weight"]].to_numpy() if "weight" in law.roles else np.ones(len(row))
        common = {
            "policy": name,
            "truth": population.difference(policy, reference),
            "kl": population.kl(policy, reference),
        }
        rows = self._estimates(common, found)
        common = {key: rows[0][key] for key in (*common, *VERDICT)}
        value, se = all_knowing(law, sample, policy, reference, weight)
        rows.append(
            {**common, "estimator": "all-knowing", "estimate": value, "se": se, "ci_low": value - 1.96 * se,
             "ci_high": value + 1.96 * se}
        )  # fmt: skip
        if self.generator.law is hidden and found.evidence.sensitivity is not None:
            bounds = found.evidence.sensitivity.bounds(*strength(law, population, policy, reference, NOISE**2))
            rows.append(
                {**common, "estimator": "sensitivity bounds", "estimate": found.difference.value,
                 "se": found.difference.se, "ci_low": bounds.ci_low, "ci_high": bounds.ci_high}
            )  # fmt: skip
        return rows

    def _estimates(self, common: dict[str, Any], found: Evaluation) -> list[dict[str, Any]]:
        """One row for each estimator, with the verdict."""
        decided = judge(
            found.difference, found.overlap, direction=self.law.direction, notes=found.notes, barred=found.barred
        )
        verdict = {
            "warned": bool(decided.reasons),
            "better": decided.outlook == "better",
            "headline": found.estimator,
            "effective": found.overlap.ess,
            "unbalanced": found.overlap.unbalanced,
        }
        rows = []
        for estimator, estimate in found.estimates["difference"].items():
            low, high = estimate.confint(0.95)
            numbers = {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}
            rows.append({**common, **verdict, "estimator": estimator, **numbers})
        return rows
