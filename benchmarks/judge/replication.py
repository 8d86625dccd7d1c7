"""One table: the difference of two policies by a calibrated judge, by the judge as it is, and without a judge."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.judge.letters import CASES, LENGTH, LETTERS, ONE_HOT, Case, Table, draw
from causalopt.data.folds import group_folds
from causalopt.data.population import FIXED
from causalopt.errors import CausalOptWarning, OverlapError
from causalopt.evaluation import Estimate, calibrate_scores, calibrated_judge, dm, snipw, transport
from causalopt.evaluation.judged import JudgedEvaluation, JudgeScores, evaluate_with_judge
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes

DRAWS, KNOWN_DRAWS, DRAWN_FOR_CJE = 300, 2000, 1000
"""Texts of each policy: on the default path, with known ratios, and for `cje-eval`."""
DIMENSIONS = 20
FOLDS = 5
FIRST_SEED = 50_000
"""Seeds below were used in development."""
KNOWN, BALANCE = "known ratios", "balance"
CJE = "cje-eval"


def replicate(case: str, seed: int) -> list[dict[str, Any]]:
    """One row for each method; a refusal is a row of its own, without an estimate."""
    drawn = draw(CASES[case], seed)
    common = {"case": case, "replication": seed, "truth": drawn.truth}
    rows = [{**common, **row} for row in _known_ratios(drawn, seed)]
    rows += [{**common, **row} for row in _default_path(drawn, CASES[case])]
    if find_spec("cje") is not None:
        rows.append({**common, "method": CJE, **_cje(drawn, seed)})
    return rows


def _known_ratios(drawn: Table, seed: int) -> list[dict[str, Any]]:
    """The array function, with the known probabilities with which letters were shown, and none of the product's fits.

    The outcomes are adjusted for age and sex by least squares, cross-fitted. The letters are all there are, so
    that rows are drawn, and not letters.
    """
    data, score = drawn.data, drawn.score
    n, rated = len(data), data.rated
    fold = group_folds(np.arange(n), FOLDS, seed)
    w = np.column_stack([data.covariates["age"], data.covariates["sex"] == "m"]).astype(np.float64)
    w -= w.mean(axis=0)
    adjusted, response = np.zeros(n), np.zeros(n)
    for k in range(FOLDS):
        train = rated & (fold != k)
        design = np.hstack([ONE_HOT[drawn.text[train]], w[train]])
        slope = np.linalg.lstsq(design, data.outcome[train], rcond=None)[0][-2:]
        response[fold == k] = w[fold == k] @ slope
    adjusted[rated] = data.outcome[rated] - response[rated]
    rng = np.random.default_rng([seed, 24])
    values, plain, raw = [], [], []
    p_value = np.nan
    for policy in (drawn.policy, drawn.reference):
        probability = policy.probability
        alpha = np.where(rated, probability[drawn.text] / drawn.shown, 0.0)
        alpha /= alpha.mean()
        texts = rng.choice(len(probability), KNOWN_DRAWS, p=probability)
        common = {"observed": rated, "reader_response": response}
        scores = score[drawn.text]
        weight = rated / drawn.shown + ~rated
        try:
            found = calibrated_judge(
                alpha, adjusted, scores, score[texts], fold=fold, calibration_weight=weight, **common
            )
        except OverlapError as error:
            return [{"weights": KNOWN, "method": "refused", "reason": str(error)}]
        values.append(found)
        with np.errstate(divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", CausalOptWarning)
            plain.append(snipw(np.log(alpha), adjusted, reader_response=response))
        raw.append(dm(score[texts]))
        if policy is drawn.policy:
            f = calibrate_scores(scores, adjusted, fold=fold, observed=rated, weight=weight)
            residual = np.where(rated, adjusted - f.of_rows, 0.0)
            length = LENGTH[drawn.text]
            p_value = transport(alpha, residual, scores, length, observed=rated).p_value
    found = {"calibrated judge": values, "no judge": plain, "judge as it is": raw}
    rows = [{"weights": KNOWN, "method": name, **_numbers(one[0] - one[1])} for name, one in found.items()]
    rows[0]["transport_p"] = p_value
    return rows


def _default_path(drawn: Table, case: Case) -> list[dict[str, Any]]:
    """What `causalopt.evaluate_with_judge` returns."""
    pseudo = _fitted(drawn, randomised=case.confounding == 0)
    judge = JudgeScores({(None, text): float(score) for text, score in zip(LETTERS, drawn.score, strict=True)})
    try:
        found = _evaluated(drawn, pseudo, judge)
    except OverlapError as error:
        return [{"weights": BALANCE, "method": "refused", "reason": str(error)}]
    names = {"calibrated_judge": "calibrated judge", "balance": "no judge"}
    rows = [
        {"weights": BALANCE, "method": names[name], **_numbers(estimate)}
        for name, estimate in found.estimates["difference"].items()
        if name in names
    ]
    rows[0]["transport_p"] = found.transport["policy"].p_value
    return rows


def _numbers(estimate: Estimate) -> dict[str, float]:
    low, high = estimate.confint(0.95)
    return {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}


def _fitted(drawn: Table, randomised: bool) -> PseudoOutcomes:
    nuisances = PseudoOutcomeEstimator(
        embedder={"name": "tfidf-svd", "dimensions": DIMENSIONS},
        outcome_model="ridge",
        assignment_model="randomized" if randomised else "gaussian",
        observation_model="constant",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        return nuisances.fit_transform(drawn.data.with_population(FIXED))


def _evaluated(drawn: Table, pseudo: PseudoOutcomes, judge: JudgeScores) -> JudgedEvaluation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        return evaluate_with_judge(
            drawn.policy, pseudo, judge, reference=drawn.reference, draws=DRAWS, population=FIXED
        )


def _cje(drawn: Table, seed: int) -> dict[str, float]:
    """`cje-eval` on the same rows: its calibration is of y, and the policies' texts have no outcome of their own."""
    from cje import analyze_dataset

    logging.getLogger("cje").setLevel(logging.ERROR)
    score = dict(zip(LETTERS, drawn.score.tolist(), strict=True))
    data = drawn.data
    records = {
        "logged": [
            {"prompt_id": f"row {i}", "judge_score": score[text], "oracle_label": float(y) if rated else None}
            for i, (text, y, rated) in enumerate(zip(data.texts, data.outcome, data.rated, strict=True))
        ]
    }
    for who, policy in (("policy", drawn.policy), ("reference", drawn.reference)):
        texts = policy.sample(None, DRAWN_FOR_CJE, seed)
        records[who] = [{"prompt_id": f"draw {i}", "judge_score": score[text]} for i, text in enumerate(texts)]
    known = data.outcome[data.rated]
    scales = {"fresh_judge_scale": (1.0, 5.0), "fresh_oracle_scale": (float(known.min()), float(known.max()))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = analyze_dataset(fresh_draws_data=records, **scales).compare_policies("policy", "reference")
    return {
        "weights": "",
        "estimate": found["difference"],
        "se": found["se_difference"],
        "ci_low": found["ci_lower"],
        "ci_high": found["ci_upper"],
    }
