"""`run`: all stages from a table to an optimised model and its evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from causalopt.backends import load_policy
from causalopt.backends.contracts import LanguageModelBackend, Policy, Progress
from causalopt.backends.saved import FOR_READERS
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import DRAWN
from causalopt.data.reader_groups import ReaderGroups
from causalopt.diagnostics.frontier import Frontier
from causalopt.diagnostics.verdict import TOO_FEW
from causalopt.errors import CausalOptWarning, collected_warnings
from causalopt.evaluation.evaluate import Evaluation, evaluate
from causalopt.evaluation.found_groups import find_groups
from causalopt.evaluation.policies import Draws
from causalopt.optimization.frontier import frontier
from causalopt.optimization.kl_limit import UntilKL, kl_to
from causalopt.optimization.optimize import fit_policy, needs_samples
from causalopt.optimization.path import FACTORS, at, factor_at_kl
from causalopt.optimization.problem import draw_samples
from causalopt.processes import is_main, shared
from causalopt.progress import expect_stages
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.report import write_report
from causalopt.report.samples import places_shown
from causalopt.run.card import evidence_of, with_evidence
from causalopt.run.directory import RunDirectory
from causalopt.run.kept import keep, kept
from causalopt.run.keys import Keys, input_paths
from causalopt.run.metrics import comparison_metrics, run_metrics
from causalopt.run.neighbours import logged_neighbours
from causalopt.run.plan import Arm, Plan, fit_without, pilot_rows
from causalopt.run.replacement import COMPARISONS, ENDS, EVENTS, WORK
from causalopt.run.saved_files import read_metrics
from causalopt.run.stages import Stage
from causalopt.simulation.contracts import SimulatedWorld
from causalopt.simulation.grading import true_responses, truth_metrics

T = TypeVar("T")

CARD = f"policy/{FOR_READERS}"
TRAIN_ROWS, TEST_ROWS = "nuisances of the training rows", "nuisances of the test rows"
REFERENCE, SAMPLES = "reference policy", "texts drawn from the reference"
OPTIMISATION, HOW_FAR = "optimisation", "how far to go"
WITHOUT, EVALUATION = "nuisances without a covariate", "evaluation"


def run(
    plan: Plan, directory: Path, *, resume: bool = False, overwrite: bool = False, source: Path | None = None
) -> dict[str, Any]:
    """Execute a plan and write all results to ``directory`` (docs/run-directory.md).

    Each stage is identified by everything that its result depends on: settings, data, code and the stages before it.
    With ``resume``, a run that was killed continues where it stopped: what is done is reused, and what has changed
    since is computed again. For a finished run, ``resume`` returns the metrics and changes nothing. With ``overwrite``,
    the new run replaces an earlier one when it is complete, and reuses those of its stages that have not changed;
    ``source`` is the configuration's file, and a directory that contains it is refused.

    Under `torchrun` or `accelerate launch` every process must call this: all train, the main process does the rest.

    Returns
    -------
    dict
        The content of ``metrics.json``.
    """
    files = RunDirectory(directory)
    if not is_main():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CausalOptWarning)  # the main process issues them
            files.path = shared(lambda: files.path)
            return shared(dict) if shared(bool) else _Stages(plan, files, shared(dict)).follow()
    fingerprints = {name: data.fingerprint() for name, data in plan.data_sets().items()}
    facts = {
        "seed": plan.config.seed,
        "fingerprint": fingerprints,
        "world": None if plan.world is None else plan.world.describe(),
        "comparisons": {name: f"{COMPARISONS}/{name}" for name in plan.comparisons},
    }
    with (
        files.open(
            plan.config.dump(),
            resume=resume,
            overwrite=overwrite,
            facts=facts,
            inputs=input_paths(plan.config) | ({} if source is None else {"the configuration": source}),
        ) as finished,
        collected_warnings() as messages,
    ):
        shared(lambda: files.path)
        if shared(lambda: finished):
            return shared(lambda: read_metrics(directory / "metrics.json", ("value", "verdict", "warnings")))
        metrics = _Stages(plan, files, fingerprints).carry_out()
        metrics["warnings"] = sorted({*files.warnings(), *messages()})
        files.write_json("metrics.json", metrics)
        write_report(files.path)
        card = files.path / CARD
        if card.is_file():  # a policy over known texts has none
            evidence = evidence_of(metrics, plan.data_sets(), fingerprints)
            files.write_text(CARD, with_evidence(card.read_text(encoding="utf-8"), evidence))
        return shared(lambda: metrics)


def stage_names(plan: Plan) -> list[str]:
    """Names of the stages of a run, in order; a test holds it and the stages together."""
    names = [TRAIN_ROWS, TEST_ROWS, REFERENCE, *([SAMPLES] if _needs_samples(plan) else []), OPTIMISATION, HOW_FAR]
    names += [*([WITHOUT] if plan.config.evaluation.benchmark else []), EVALUATION]
    for name, arm in plan.comparisons.items():
        own = [f"nuisances of {name}"] if arm.own_nuisances else []
        names += [*own, f"comparison {name}", f"evaluation of {name}"]
    return names


def _needs_samples(plan: Plan) -> bool:
    """Whether an objective, or q from embeddings, needs texts of the reference."""
    arms = (plan.main, *plan.comparisons.values())
    return any(needs_samples(arm.objective, plan.config.behavior_policy) for arm in arms)


class _Stages:
    """The stages of one run, in order; each returns what the next one needs."""

    def __init__(self, plan: Plan, files: RunDirectory, fingerprints: Mapping[str, str]) -> None:
        self.plan = plan
        self.files = files
        self.keys = Keys(plan, fingerprints)

    def carry_out(self) -> dict[str, Any]:
        plan, files = self.plan, self.files
        expect_stages(stage_names(plan))
        shared(lambda: self.keys.fingerprints)
        train = self.train_rows()
        test = self.test_rows()
        reference = self.reference()
        logged = self.compare_logged(reference)
        samples = self.samples(reference, train.dataset)
        end = self.end(train, reference, samples)
        penalised = self.penalised(train, reference, samples)
        factor, found = self.how_far(end, reference, train.dataset, penalised)
        chosen = end if found is None or found.correlation is None else penalised[found.correlation]
        policy = at(chosen, reference, factor)
        without = self.without()
        groups = self.groups(policy, reference, train)
        evaluation = self.evaluate("", policy, reference, test, None, without, groups)
        if found is not None and (not found.chosen or found.reference_fails):
            evaluation = replace(evaluation, notes=(found.sentence, *evaluation.notes))
        frames = [
            self.draws_frame("reference", evaluation.draws["reference"]),
            self.draws_frame("policy", evaluation.draws["policy"]),
        ]
        comparisons = {}
        for name, arm in plan.comparisons.items():
            other_train = self.train_rows(name) if arm.own_nuisances else train
            # At the same place of its own path; where the reference was chosen, at its end.
            other = self.comparison(name, other_train, reference, samples, factor or 1.0)
            result = self.evaluate(name, other, reference, test, evaluation.draws["reference"], without, groups)
            folder = f"{COMPARISONS}/{name}"
            comparisons[name] = comparison_metrics(result, plan.test, self.truth(other, reference, result), folder)
            frames.append(self.draws_frame(name, result.draws["policy"]))
        files.write_frame("samples.parquet", self.with_neighbours(pd.concat(frames, ignore_index=True)))
        truth = self.truth(policy, reference, evaluation)
        metrics = run_metrics(plan, train, test, evaluation, truth, comparisons, found)
        return metrics if logged is None else {**metrics, "logged_log_prob": logged}

    def follow(self) -> dict[str, Any]:
        """Train together with the main process, in the order of `carry_out`, and return its metrics."""
        train = self.train_rows()
        reference = self.reference()
        samples = self.samples(reference, train.dataset)
        self.end(train, reference, samples)
        self.penalised(train, reference, samples)
        for name, arm in self.plan.comparisons.items():
            other_train = self.train_rows(name) if arm.own_nuisances else train
            self.comparison(name, other_train, reference, samples)
        return shared(dict)

    def train_rows(self, comparison: str = "") -> PseudoOutcomes:
        """Pseudo-outcomes of the training rows that the policy is tuned on; the saved table contains all rows."""
        return shared(lambda: self._train_rows(comparison))

    def _train_rows(self, comparison: str) -> PseudoOutcomes:
        plan = self.plan
        arm = plan.comparisons[comparison] if comparison else plan.main

        def compute() -> PseudoOutcomes:
            pseudo = arm.nuisances.fit_transform(plan.train, outcome_data=plan.outcome_rows.train)
            if not comparison:
                self.files.write_frame("pseudo_outcomes.parquet", pseudo.to_frame())
            return pilot_rows(pseudo, plan.config.pilot.train_rows, plan.config.seed)

        name = f"nuisances of {comparison}" if comparison else TRAIN_ROWS
        tables = () if comparison else ("pseudo_outcomes.parquet",)
        return self.object_stage(name, self.keys.nuisances(comparison, "train"), compute, *tables)

    def test_rows(self) -> PseudoOutcomes:
        """Pseudo-outcomes of the evaluation rows, from nuisances fitted on these rows."""
        plan = self.plan

        def compute() -> PseudoOutcomes:
            pseudo = plan.main.nuisances.fit_transform(plan.test, outcome_data=plan.outcome_rows.test)
            return pilot_rows(pseudo, plan.config.pilot.test_rows, plan.config.seed)

        return self.object_stage(TEST_ROWS, self.keys.nuisances("", "test"), compute)

    def object_stage(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], T], *tables: str) -> T:
        """Return the result of a stage of the main process, which is kept as an object until the run is finished."""
        path = f"{WORK}/{name}.kept"

        def load() -> T | None:
            found: T | None = kept(self.files.path / path)
            return found

        def write() -> T:
            result = compute()
            keep(result, self.files.path / path)
            # Read back also here: arrays change their order in memory, and sums over them their last bits.
            found = load()
            return result if found is None else found

        return self.files.do(Stage(name, inputs, write, (path, *tables), load))

    def policy_stage(self, name: str, inputs: Mapping[str, Any], fit: Callable[[], Policy], folder: str) -> Policy:
        """Return the policy that a stage of all processes leaves in a folder, as it is read from there."""
        target = self.files.path / folder

        def load() -> Policy:
            return load_policy(target, cache=self.files.work / "computed")

        def compute() -> Policy:
            self.save(fit(), target)
            return load()

        stage = Stage(name, inputs, compute, (folder,), load)
        done = shared(lambda: self.files.has(stage))
        if is_main():
            return self.files.do(stage, done)
        return load() if done else compute()

    def save(self, policy: Policy, target: Path) -> None:
        """Save a policy; called by all processes, with none of which it stays in memory."""
        shared(lambda: policy.save(target))

    def reference(self) -> Policy:
        """Tune the reference on the logged texts."""
        plan, data = self.plan, self.plan.train
        progress = self.progress("reference", "reference")

        def fit() -> Policy:
            return plan.backend.reference(
                data.prompts, data.texts, data.weight, seed=plan.config.seed, progress=progress
            )

        return self.policy_stage(REFERENCE, self.keys.reference(), fit, "reference")

    def compare_logged(self, reference: Policy) -> str | None:
        """Say whose log-probabilities were logged, if the reference may have written the logs; None otherwise."""
        data, backend = self.plan.train, self.plan.backend
        if data.behavior_log_prob is None or not isinstance(backend, LanguageModelBackend):
            return None
        return backend.compare_logged(
            reference, data.prompts, data.texts, data.behavior_log_prob, seed=self.plan.config.seed
        )

    def samples(self, reference: Policy, data: DirectOutcomeDataset) -> list[list[str]] | None:
        """Texts for the g term and for q from embeddings, shared by all objectives; None if none needs them."""
        return shared(lambda: self._samples(reference, data)) if _needs_samples(self.plan) else None

    def _samples(self, reference: Policy, data: DirectOutcomeDataset) -> list[list[str]]:
        config, name = self.plan.config, "objective_texts.parquet"

        def compute() -> list[list[str]]:
            samples = draw_samples(reference, data, config.samples.per_row, config.seed, config.samples.pool)
            self.files.write_frame(name, pd.DataFrame({"row": data.row, "texts": samples}))
            return samples

        def load() -> list[list[str]]:
            return [list(row) for row in pd.read_parquet(self.files.path / name)["texts"]]

        return self.files.do(Stage(SAMPLES, self.keys.texts(), compute, (name,), load))

    def end(self, train: PseudoOutcomes, reference: Policy, samples: list[list[str]] | None) -> Policy:
        """Return the end of the fit of the run's own policy."""
        return self.policy_stage(
            OPTIMISATION,
            self.keys.optimisation(""),
            lambda: self.optimise("policy", self.plan.main, train, reference, samples),
            "end",
        )

    def comparison(
        self, name: str, train: PseudoOutcomes, reference: Policy, samples: list[list[str]] | None, factor: float = 1.0
    ) -> Policy:
        """Return the policy of a comparison, at a point of its path that the main process names."""
        factor = shared(lambda: factor)
        return self.policy_stage(
            f"comparison {name}",
            self.keys.optimisation(name, factor=factor),
            lambda: at(self.optimise(name, self.plan.comparisons[name], train, reference, samples), reference, factor),
            f"{COMPARISONS}/{name}",
        )

    def penalised(
        self, train: PseudoOutcomes, reference: Policy, samples: list[list[str]] | None
    ) -> dict[float, Policy]:
        """Return the ends of the fits that constraints penalise, by correlation."""
        config = self.plan.config
        if not config.constraints or config.choose is None:
            return {}
        found = {}
        for k in config.choose.correlations:
            found[k] = self.policy_stage(
                f"optimisation with correlation {k:g}",
                self.keys.optimisation("", correlation=k),
                partial(self.optimise, f"correlation {k:g}", self.plan.main, train, reference, samples, k),
                f"{ENDS}/correlation {k:g}",
            )
        return found

    def how_far(
        self, end: Policy, reference: Policy, data: DirectOutcomeDataset, penalised: Mapping[float, Policy]
    ) -> tuple[float, Frontier | None]:
        """Choose a point of the path, and write its policy."""
        files = self.files

        def compute() -> tuple[float, Frontier | None]:
            furthest = self.furthest(end, reference, data)
            distance = kl_to(reference, data, self.plan.config.seed)
            moved = {k: policy for k, policy in penalised.items() if distance(policy) > 0}
            ends = {k: (policy, self.furthest(policy, reference, data)) for k, policy in moved.items()}
            found = self.choose(end, reference, furthest, ends)
            factor = (1.0 if furthest is None else furthest) if found is None else found.chosen
            chosen = end if found is None or found.correlation is None else penalised[found.correlation]
            at(chosen, reference, factor).save(files.path / "policy")
            if found is not None:
                files.write_frame("frontier.parquet", found.frame)
            return factor, found

        return self.object_stage(HOW_FAR, self.keys.how_far(), compute, "policy", "frontier.parquet")

    def without(self) -> dict[str, PseudoOutcomes]:
        """Nuisances of the test rows without each covariate that is a benchmark for a hidden confounder."""
        plan = self.plan
        if not plan.config.evaluation.benchmark:
            return {}
        return self.object_stage(
            WITHOUT,
            self.keys.without(),
            lambda: fit_without(plan.config, plan.test, plan.outcome_rows.test),
        )

    def optimise(
        self,
        name: str,
        arm: Arm,
        pseudo: PseudoOutcomes,
        reference: Policy,
        samples: list[list[str]] | None,
        correlation: float | None = None,
    ) -> Policy:
        """Return the end of a fit; the reference if it was to be penalised and there is nothing to penalise."""
        config = self.plan.config
        end = fit_policy(
            pseudo,
            arm.objective,
            self.plan.backend,
            reference,
            samples,
            behavior_policy=config.behavior_policy,
            seed=config.seed,
            progress=self.progress(f"optimisation-{name}", name),
            on_checkpoint=self.until_target(pseudo.dataset, reference),
            constraints=self.plan.constraints,
            correlation=correlation,
        )
        return reference if end is None else end

    def until_target(self, data: DirectOutcomeDataset, reference: Policy) -> UntilKL | None:
        """Rule that ends a fit at the target KL; None for the fit's own end."""
        target, seed = self.plan.config.target_kl, self.plan.config.seed
        if target is None:
            return None
        return UntilKL(kl_to(reference, data, seed), target, name=f"until kl {target} {seed}")

    def furthest(self, end: Policy, reference: Policy, data: DirectOutcomeDataset) -> float | None:
        """Point of the path at the target KL; None without a target."""
        config = self.plan.config
        if config.target_kl is None:
            return None
        return factor_at_kl(
            end, reference, config.target_kl, kl_to(reference, data, config.seed, config.evaluation.draws)
        )

    def choose(
        self,
        end: Policy,
        reference: Policy,
        furthest: float | None,
        penalised: Mapping[float, tuple[Policy, float | None]],
    ) -> Frontier | None:
        """Choose a point of the path on the rows set apart for it; None if there are none."""
        config, rows = self.plan.config, self.plan.apart
        if config.choose is None:
            return None
        if rows is None:
            warnings.warn(
                f"how far to go was not chosen by the data: {config.choose.size:.0%} of "
                f"{self.plan.train.unit_count():,} training {' or '.join(self.plan.train.units())} are fewer than "
                f"{TOO_FEW:.0f}. The policy is the end of the fit",
                CausalOptWarning,
                stacklevel=2,
            )
            return None
        pseudo = self.plan.main.nuisances.fit_transform(rows)
        return frontier(
            end,
            reference,
            pilot_rows(pseudo, config.pilot.test_rows, config.seed),
            estimator=config.evaluation.estimators[0],
            behavior_policy=config.behavior_policy,
            level=config.choose.level,
            draws=config.choose.draws,
            furthest=FACTORS[-1] if furthest is None else furthest,
            population=config.data.population.over(DRAWN),
            seed=config.seed,
            constraints=self.plan.constraints,
            penalised={k: (policy, FACTORS[-1] if last is None else last) for k, (policy, last) in penalised.items()},
        )

    def evaluate(
        self,
        comparison: str,
        policy: Policy,
        reference: Policy,
        test: PseudoOutcomes,
        reference_draws: Draws | None,
        without: Mapping[str, PseudoOutcomes],
        groups: Sequence[str] | ReaderGroups | None,
    ) -> Evaluation:
        config = self.plan.config
        return self.object_stage(
            f"evaluation of {comparison}" if comparison else EVALUATION,
            self.keys.evaluation(comparison),
            lambda: evaluate(
                policy,
                test,
                reference=reference,
                estimators=config.evaluation.estimators,
                behavior_policy=config.behavior_policy,
                draws=config.evaluation.draws,
                level=config.evaluation.level,
                seed=config.seed,
                reference_draws=reference_draws,
                without=without,
                population=config.data.population.over(DRAWN),
                groups=groups,
                constraints=self.plan.constraints,
            ),
        )

    def groups(self, policy: Policy, reference: Policy, train: PseudoOutcomes) -> Sequence[str] | ReaderGroups | None:
        """Return the groups of readers for the gain by group: covariates, or groups found in the training rows."""
        config = self.plan.config
        if config.evaluation.groups == "found":
            draws = config.evaluation.draws
            return find_groups(policy, train, reference=reference, draws=draws, seed=config.seed)
        return config.evaluation.groups or None

    def truth(self, policy: Policy, reference: Policy, evaluation: Evaluation) -> dict[str, float] | None:
        world: SimulatedWorld | None = self.plan.world
        return None if world is None else truth_metrics(world, policy, reference, evaluation.draws)

    def draws_frame(self, name: str, draws: Draws) -> pd.DataFrame:
        frame = pd.DataFrame({"policy": name, "prompt": draws.prompts, "text": draws.texts, "g": draws.g})
        if self.plan.world is not None:
            frame["truth"] = true_responses(self.plan.world, draws.texts, draws.prompts)
        return frame

    def with_neighbours(self, samples: pd.DataFrame) -> pd.DataFrame:
        """Add the nearest logged text to each sample that the report shows; null for the others."""
        train, test = self.plan.train, self.plan.test
        shown = places_shown(samples, test.direction)
        found = logged_neighbours(samples["text"].iloc[shown].tolist(), [train, test])
        return samples.join(found.set_index(samples.index[shown]))

    def progress(self, folder: str, name: str) -> Progress:
        """Return where a fit keeps its checkpoints, reports its steps and writes its events."""
        return Progress(self.files.work / folder, (self.log(name),), self.files.path / EVENTS / name)

    def log(self, name: str) -> Any:
        """Return a callback that appends each step's metrics to ``training.jsonl``."""
        first = True

        def append(event: str, metrics: Mapping[str, Any]) -> None:
            nonlocal first
            if event == "step":
                self.files.log_step(name, metrics, first=first)
                first = False

        return append
