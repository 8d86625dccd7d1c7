"""The content of ``metrics.json``: plain numbers from an evaluation, with the true values if they are known."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data.conversations import SENTENCE
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.response import who_answers
from causalopt.diagnostics.frontier import Frontier
from causalopt.diagnostics.group_verdict import judge_groups
from causalopt.diagnostics.verdict import judge
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.constrained import Constrained
from causalopt.evaluation.evaluate import Evaluation, describe
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.run.attributes import attribute_metrics
from causalopt.run.plan import OutcomeRows, Plan


def run_metrics(
    plan: Plan,
    train: PseudoOutcomes,
    test: PseudoOutcomes,
    evaluation: Evaluation,
    truth: dict[str, float] | None,
    comparisons: dict[str, Any],
    frontier: Frontier | None,
) -> dict[str, Any]:
    """Collect the numbers of a run; docs/run-directory.md lists the files."""
    return {
        "outcome": plan.train.columns.outcome,
        "direction": plan.train.direction,
        "objective": plan.config.objective["name"],
        "conversations": None if plan.config.data.conversation is None else SENTENCE,
        **evaluation_metrics(evaluation, plan.test),
        "data": data_metrics(plan.train, plan.test, plan.outcome_rows),
        "nuisance": {"train": nuisance_metrics(train), "test": nuisance_metrics(test)},
        "attributes": attribute_metrics(train, test, evaluation),
        "frontier": None if frontier is None else frontier.to_dict(),
        "truth": truth,
        "comparisons": comparisons,
        "warnings": [],
    }


def evaluation_metrics(
    evaluation: Evaluation, test: DirectOutcomeDataset, *, reference: str = "the reference"
) -> dict[str, Any]:
    """Values, estimates, overlap and KL of an evaluation, with a verdict that calls the reference ``reference``."""
    groups = group_metrics(evaluation, test)
    found = judge(
        evaluation.difference,
        evaluation.overlap,
        outcome=test.columns.outcome,
        direction=test.direction,
        level=evaluation.level,
        robustness_value=_robustness(evaluation) if test.covariates.shape[1] else None,
        reference=reference,
        notes=evaluation.notes,
        barred=evaluation.barred,
        beside=[] if groups is None else [groups["sentence"]],
    )
    return {
        "verdict": found.text,
        "finding": found.finding,
        "outlook": found.outlook,
        "thin": found.thin,
        "reasons": list(found.reasons),
        "barred": list(evaluation.barred),
        "estimator": evaluation.estimator,
        "level": evaluation.level,
        "behavior_policy": evaluation.behavior_policy,
        "population": {
            **asdict(evaluation.population),
            "sentence": evaluation.population.sentence(prompts=test.prompts is not None),
        },
        "who_answers": who_answers(test),
        "value": _values(evaluation),
        "estimates": evaluation.to_frame().to_dict("records"),
        "groups": groups,
        "constraints": [constraint_metrics(one, evaluation.estimator) for one in evaluation.constrained],
        "not_computed": dict(evaluation.left_out),
        "overlap": evaluation.overlap.to_dict(),
        **_logged_law(evaluation),
        "evidence": evidence_metrics(evaluation),
        **_kl(evaluation),
    }


def group_metrics(evaluation: Evaluation, test: DirectOutcomeDataset) -> dict[str, Any] | None:
    """Gain by group of readers with the conclusion about each, as plain numbers; None if it was not asked for."""
    found = evaluation.groups
    if found is None:
        return None
    judged = judge_groups(
        found.frame,
        outcome=test.columns.outcome,
        direction=test.direction,
        level=found.level,
        barred=evaluation.barred,
    )
    rows = found.frame.astype(object).where(found.frame.notna(), None)
    return {
        "sentence": judged.sentence or " ".join(found.groups.notes),
        "notes": list(found.groups.notes),
        "heterogeneity_p_value": found.heterogeneity,
        "level": found.level,
        "estimator": found.estimator,
        "gains": [
            {**record, "outlook": outlook}
            for record, outlook in zip(rows.to_dict("records"), judged.outlooks, strict=True)
        ],
        "definitions": found.groups.to_dicts(),
    }


def constraint_metrics(found: Constrained, estimator: str) -> dict[str, Any]:
    """Bound and values of a constrained outcome, as plain numbers, with a sentence on whether the bound holds."""

    def value(estimate: Estimate | None) -> dict[str, Any] | None:
        return None if estimate is None else describe(estimate, estimator, found.level)

    both = found.policy is not None and found.reference is not None
    return {
        "outcome": found.constraint.outcome,
        "at_most": found.constraint.at_most,
        "at_least": found.constraint.at_least,
        "policy": value(found.policy),
        "reference": value(found.reference),
        "difference": value(found.policy - found.reference) if both else None,  # type: ignore[operator]
        "holds": found.holds,
        "sentence": found.sentence,
    }


def evidence_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Sensitivity with its benchmarks, placebo tests, balance and calibration, as plain numbers."""
    evidence = evaluation.evidence
    sensitivity = evidence.sensitivity
    return {
        "robustness_value": None if sensitivity is None else sensitivity.robustness_value(),
        "robustness_value_interval": _robustness(evaluation),
        "bounds": evidence.bounds(evaluation.level),
        "max_bias": None if sensitivity is None else sensitivity.max_bias.value,
        "placebo_p_value": None if evidence.placebo is None else evidence.placebo.p_value,
        "placebo_rejections": None if evidence.placebo is None else evidence.placebo.rejections,
        "placebo_outcome": _placebo_outcome(evaluation),
        "drift": None if evidence.drift is None else evidence.drift.to_dict(),
        "nonresponse": _nonresponse(evaluation),
        "worst_case_bias": evidence.worst_case_bias,
        "benchmarks": [{"covariate": name, **asdict(found)} for name, found in evidence.benchmarks.items()],
        "balance": None if evidence.balance is None else evidence.balance.to_dict("records"),
        "calibration": None if evidence.calibration is None else evidence.calibration.to_dict("records"),
    }


def _logged_law(evaluation: Evaluation) -> dict[str, Any]:
    """Fit of the reference to the logged texts, and the policy's overlap with them; null if not measured."""
    law = evaluation.logged_law
    fit = law.fit
    return {
        "behavior_fit": None
        if fit is None
        else {"auc": fit.auc, "auc_low": fit.auc_low, "auc_high": fit.auc_high, "judgement": fit.judgement},
        "support": None if law.support is None else asdict(law.support),
        "reference_support": None if law.reference_support is None else asdict(law.reference_support),
        "unlogged": dict(law.unlogged),
    }


def _placebo_outcome(evaluation: Evaluation) -> dict[str, Any] | None:
    estimate = evaluation.evidence.placebo_outcome
    if estimate is None:
        return None
    return {**describe(estimate, evaluation.estimator, evaluation.level), "p_value": estimate.test().p_value}


def _nonresponse(evaluation: Evaluation) -> dict[str, Any] | None:
    """Sensitivity to who responds: the table over delta, and the tipping points, outcome units; null if none exists."""
    found = evaluation.evidence.nonresponse
    if found is None:
        return None
    tipping, worst = (point(level=evaluation.level) for point in (found.tipping_point, found.worst_tipping_point))
    return {
        "unobserved_policy": found.unobserved[0],
        "unobserved_reference": found.unobserved[1],
        "outcome_sd": found.spread,
        "tipping_point": tipping,
        "worst_tipping_point": worst,
        "table": found.to_frame(level=evaluation.level).to_dict("records"),
    }


def _robustness(evaluation: Evaluation) -> float | None:
    sensitivity = evaluation.evidence.sensitivity
    return None if sensitivity is None else sensitivity.robustness_value(level=evaluation.level)


def comparison_metrics(
    evaluation: Evaluation, test: DirectOutcomeDataset, truth: dict[str, float] | None, folder: str
) -> dict[str, Any]:
    """Collect the numbers of a comparison policy, the same as the run's own, and the folder where it is saved."""
    return {"path": folder, **evaluation_metrics(evaluation, test), "truth": truth}


def _kl(evaluation: Evaluation) -> dict[str, float | None]:
    """KL(policy || reference) and its Monte Carlo standard error, nats; null if it is not known."""
    found = evaluation.kl
    return {"kl": None, "kl_se": None} if found is None else {"kl": found.kl, "kl_se": found.se}


def _values(evaluation: Evaluation) -> dict[str, Any]:
    return {
        quantity: describe(by_name[evaluation.estimator], evaluation.estimator, evaluation.level)
        for quantity, by_name in evaluation.estimates.items()
    }


def data_metrics(train: DirectOutcomeDataset, test: DirectOutcomeDataset, outcome_rows: OutcomeRows) -> dict[str, Any]:
    """Sizes and roles of the data."""
    second = {} if outcome_rows.train is None or outcome_rows.test is None else {
        "outcome_data": {
            "source": outcome_rows.train.source,
            "train_rows": len(outcome_rows.train),
            "test_rows": len(outcome_rows.test),
        }
    }  # fmt: skip
    return {
        "source": train.source,
        "train_rows": len(train),
        "test_rows": len(test),
        "train_groups": len(np.unique(train.group)),
        "test_groups": len(np.unique(test.group)),
        "dropped": {"train": train.dropped, "test": test.dropped},
        "covariates": list(train.covariates.columns),
        **second,
    }


def nuisance_metrics(pseudo: PseudoOutcomes) -> dict[str, float | str | None]:
    """Return the fitted models, the cross-fitted R^2 of the outcome model, and a summary of the weights.

    The R^2 is None where all outcomes of these rows are equal, so that there is nothing to explain.
    """
    data = pseudo.dataset
    variance = data.outcome_mean_and_spread()[1] ** 2
    unexplained = np.average(pseudo.error[data.rated] ** 2, weights=data.weight[data.rated])
    responses = {} if pseudo.pi is None else {
        "response_rate": float(np.average(data.rated, weights=data.weight)),
        "observation_truncated_mass": float(pseudo.truncated_observation.mass),
        "rarely_observed_rows": float(pseudo.truncated_observation.rows),
    }  # fmt: skip
    return {
        **{f"{nuisance}_model": models for nuisance, models in _models(pseudo.scores).items()},
        "outcome_r2": float(1 - unexplained / variance) if variance > 0 else None,
        "weight_mean": float(np.average(pseudo.s, weights=data.weight)),
        "weight_max": float(pseudo.s.max()),
        "truncated_mass": float(pseudo.truncated_mass),
        **responses,
    }


def _models(scores: pd.DataFrame) -> dict[str, str]:
    """Name the model of each nuisance, with the number of folds if folds chose different models."""
    names = {}
    for nuisance, rows in scores[scores["chosen"].astype(bool)].groupby("nuisance"):
        counts = rows["model"].value_counts()
        several = [f"{model} in {count} of {len(rows)} folds" for model, count in counts.items()]
        names[str(nuisance)] = str(counts.index[0]) if len(counts) == 1 else ", ".join(several)
    return names
