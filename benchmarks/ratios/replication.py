"""One sample of a law: how well an assignment model that is fitted on it knows the ratio of new rows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.ratios.laws import LAWS
from causalopt.nuisance.assignment.classifier import ClassifierAssignment
from causalopt.nuisance.assignment.gaussian import GaussianAssignment

MODELS = {"gaussian": GaussianAssignment, "classifier": ClassifierAssignment}
TEST_ROWS = 2000


def replicate(law: str, dimensions: int, n: int, seed: int) -> list[dict[str, Any]]:
    """One row a model, on ``n`` training rows and 2,000 new ones.

    ``slope`` is that of the true log s on the estimated one: 1 when calibrated, below 1 when the model is too sure,
    and above 1 when it holds back.
    """
    drawn = LAWS[law](n + TEST_ROWS, dimensions, seed)
    train, test = slice(None, n), slice(n, None)
    found = []
    for name, model in MODELS.items():
        start = time.perf_counter()
        s = (
            model(seed=seed)
            .fit(drawn.x[train], drawn.w[train], np.ones(n))
            .stabilized_weight(drawn.x[test], drawn.w[test])
        )
        seconds = time.perf_counter() - start
        estimated, truth = np.log(s), drawn.log_s[test]
        covariance = np.cov(truth, estimated)
        spread = np.sqrt(covariance[1, 1])
        found.append(
            {
                "law": law,
                "dimensions": dimensions,
                "n": n,
                "replication": seed,
                "model": name,
                "correlation": covariance[0, 1] / np.sqrt(covariance[0, 0]) / spread if spread > 0 else 0.0,
                "slope": covariance[0, 1] / covariance[1, 1] if spread > 0 else 0.0,
                "sd_of_truth": float(np.sqrt(covariance[0, 0])),
                "mean_weight": float(s.mean()),
                "seconds": seconds,
            }
        )
    return found
