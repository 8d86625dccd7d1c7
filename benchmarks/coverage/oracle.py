"""What can be said by somebody who knows the law: the efficient estimate, and the strength of a hidden covariate."""

from __future__ import annotations

import numpy as np

from benchmarks.coverage.laws import Law, Matrix, Population, Sample
from causalopt.typing import Float64


def all_knowing(law: Law, sample: Sample, policy: Matrix, reference: Matrix, weight: Float64) -> tuple[float, float]:
    """Difference by the doubly robust estimator with the true m, p(x | c, w) and p(response), and its error.

    The error is clustered by reader where readers repeat.
    """
    readers, row = sample.readers, np.arange(len(sample.text))
    change = np.exp(policy(readers)) - np.exp(reference(readers))
    mean = law.mean(readers)
    shown = np.exp(sample.log_shown)[row, sample.text] * sample.responds
    score = (change * mean).sum(axis=1)
    score += np.where(
        sample.observed, change[row, sample.text] / shown * (sample.outcome - mean[row, sample.text]), 0.0
    )
    value = float(weight @ score / weight.sum())
    cluster = readers["who"].to_numpy() if "who" in readers else row
    sums = np.bincount(cluster, weights=weight * (score - value))
    groups = len(np.unique(cluster))
    return value, float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / weight.sum())


def strength(law: Law, population: Population, policy: Matrix, reference: Matrix, noise: float) -> tuple[float, float]:
    """Strength of the covariate ``home`` where it is hidden: cf_y and cf_d, see `causalopt.evaluation.Sensitivity`.

    ``noise`` is the variance of the outcome's error. The home is independent of the other covariates.
    """
    readers = population.readers[:4000]
    homes = [readers.assign(home=home) for home in ("city", "country")]
    share = np.array([0.6, 0.4])
    shown = np.stack([np.exp(law.log_shown(w)) for w in homes])
    mean = np.stack([law.mean(w) for w in homes])
    without = np.tensordot(share, shown, 1)  # p(x | w) without the home
    given = share[:, None, None] * shown / without  # P(home | x, w)
    explained = (given * mean**2).sum(axis=0) - (given * mean).sum(axis=0) ** 2
    explained = float((without * explained).sum(axis=1).mean())
    change = np.exp(policy(readers)) - np.exp(reference(readers))
    long = float(np.sum(share[:, None, None] * change**2 / shown) / len(readers))
    short = float(np.sum(change**2 / without) / len(readers))
    return explained / (explained + noise), 1 - short / long
