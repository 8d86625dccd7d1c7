"""One table: the difference of two policies by several estimators, on the default path of a user."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.balancing.sentences import CASES, Table, draw, known
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import DRAWN
from causalopt.errors import CausalOptWarning
from causalopt.evaluation.evaluate import evaluate
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.simulation.template_world import TemplateWorld
from causalopt.simulation.tilting import temperature_at, tilt

ESTIMATORS = ("balance", "sndr", "dr", "mdr")
DRAWS = 500
TEMPLATE = "template world, {:g} nats"
TEMPLATE_ROWS = 1200
KLS = (0.15, 0.5, 1.5, 2.7)


def replicate(case: str, seed: int) -> list[dict[str, Any]]:
    """One row for each estimator; for the case "template", for each KL and estimator."""
    if case == "template":
        return _template(seed)
    drawn = draw(CASES[case], seed)
    return _rows(case, seed, _fitted(drawn.data), drawn)


def _template(seed: int) -> list[dict[str, Any]]:
    """Policies tilted by the true dose response: the best ones at their KL."""
    world = TemplateWorld(confounding=1.0, seed=seed)
    data = world.sample(TEMPLATE_ROWS, 1)
    fitted = _fitted(data)
    g, log_behavior = world.true_dose_response(world.texts), world.log_behavior
    rows = []
    for kl in KLS:
        log_prob = tilt(log_behavior, g, temperature_at(log_behavior, g, kl))
        truth = float((np.exp(log_prob) - np.exp(log_behavior)) @ g)
        drawn = Table(data, known(world.texts, log_prob), known(world.texts, log_behavior), truth)
        rows += _rows(TEMPLATE.format(kl), seed, fitted, drawn)
    return rows


def _fitted(data: DirectOutcomeDataset) -> PseudoOutcomes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        return PseudoOutcomeEstimator(seed=0).fit_transform(data.with_population(DRAWN))


def _rows(case: str, seed: int, pseudo: PseudoOutcomes, drawn: Table) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        found = evaluate(
            drawn.policy, pseudo, reference=drawn.reference, estimators=ESTIMATORS, draws=DRAWS, population=DRAWN
        )
    rows = []
    for name, estimate in found.estimates["difference"].items():
        low, high = estimate.confint(0.95)
        numbers = {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}
        rows.append({"case": case, "replication": seed, "estimator": name, "truth": drawn.truth, **numbers})
    return rows
