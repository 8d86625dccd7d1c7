"""One table: the difference of two policies by a calibrated judge, by the judge as it is, and without a judge."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.judge.letters import CASES, LETTERS, Table, draw
from causalopt.data.population import DRAWN
from causalopt.errors import CausalOptWarning, OverlapError
from causalopt.evaluation.judged import JudgedEvaluation, JudgeScores, evaluate_with_judge
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes

DRAWS = 300
DIMENSIONS = 20
DRAWN_FOR_CJE = 1000
FIRST_SEED = 50_000
"""Seeds below were used in development."""
CJE_REPLICATIONS = 100
"""Number of tables on which `cje-eval` runs."""
CJE = "cje-eval"
NAMES = {"calibrated_judge": "calibrated judge", "balance": "balance, no judge", "raw_judge": "judge as it is"}


def replicate(case: str, seed: int) -> list[dict[str, Any]]:
    """One row for each method; a refusal is a row of its own, without an estimate."""
    drawn = draw(CASES[case], seed)
    common = {"case": case, "replication": seed, "truth": drawn.truth}
    pseudo = _fitted(drawn, randomised=CASES[case].confounding == 0)
    judge = JudgeScores({(None, text): float(score) for text, score in zip(LETTERS, drawn.score, strict=True)})
    rows = []
    try:
        found = _evaluated(drawn, pseudo, judge)
    except OverlapError as error:
        rows.append({**common, "method": "refused", "reason": str(error)})
    else:
        for name, estimate in found.estimates["difference"].items():
            low, high = estimate.confint(0.95)
            numbers = {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}
            transport = found.transport["policy"].p_value if name == "calibrated_judge" else np.nan
            rows.append({**common, "method": NAMES[name], **numbers, "transport_p": transport})
    if seed < FIRST_SEED + CJE_REPLICATIONS and find_spec("cje") is not None:
        rows.append({**common, "method": CJE, **_cje(drawn, seed)})
    return rows


def _fitted(drawn: Table, randomised: bool) -> PseudoOutcomes:
    nuisances = PseudoOutcomeEstimator(
        embedder={"name": "tfidf-svd", "dimensions": DIMENSIONS},
        outcome_model="ridge",
        assignment_model="randomized" if randomised else "gaussian",
        observation_model="constant",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        return nuisances.fit_transform(drawn.data.with_population(DRAWN))


def _evaluated(drawn: Table, pseudo: PseudoOutcomes, judge: JudgeScores) -> JudgedEvaluation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        return evaluate_with_judge(
            drawn.policy, pseudo, judge, reference=drawn.reference, draws=DRAWS, population=DRAWN
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
        "estimate": found["difference"],
        "se": found["se_difference"],
        "ci_low": found["ci_lower"],
        "ci_high": found["ci_upper"],
    }
