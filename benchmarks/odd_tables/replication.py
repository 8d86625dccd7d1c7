"""One odd table through the default path, and what came of it."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import numpy as np

from benchmarks.odd_tables.tables import odd_table
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import CausalOptError
from causalopt.nuisance.guards import worse_than_mean
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes

MEAN_WEIGHT = (0.8, 1.25)


def replicate(seed: int) -> list[dict[str, Any]]:
    """Return a record of one table: its kind, ``outcome`` (fitted, refused, broken), and what is wrong, if anything."""
    frame, roles, kind = odd_table(seed)
    record: dict[str, Any] = {"table": seed, "rows": len(frame), **kind, "ended": "fitted"}
    record |= {"wrong": "", "refusal": "", "failures": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = DirectOutcomeDataset.from_frame(frame, **roles)
            pseudo = PseudoOutcomeEstimator(seed=seed).fit_transform(data)
        except CausalOptError as error:
            if "\n" in str(error):
                return [{**record, "ended": "broken", "wrong": str(error)}]
            return [{**record, "ended": "refused", "refusal": str(error)}]
        except Exception:
            return [{**record, "ended": "broken", "wrong": traceback.format_exc(limit=-3)}]
    failures = ", ".join(sorted({failure.nuisance for failure in pseudo.failures}))
    return [{**record, "wrong": "; ".join(faults(pseudo)), "failures": failures, **figures(pseudo)}]


def figures(pseudo: PseudoOutcomes) -> dict[str, float]:
    """How far m and g leave the outcomes' range (in ranges), held-out loss over that of the mean, mean weight."""
    y, weight = pseudo.dataset.outcome, pseudo.dataset.weight
    seen = y[weight > 0]
    spread = float(np.ptp(seen))
    both = np.concatenate([pseudo.m, pseudo.g])
    beyond = max(float(both.max() - seen.max()), float(seen.min() - both.min()), 0.0)
    mean = means(pseudo)
    least = float(np.average((y - mean) ** 2, weights=weight))
    loss = float(np.average((y - pseudo.m) ** 2, weights=weight))
    return {
        "beyond": beyond / spread if spread > 0 else 0.0,
        "loss": loss / least if least > 0 else 1.0,
        "mean_weight": float(np.average(pseudo.s, weights=weight)),
        "largest_weight": float(pseudo.s.max()),
    }


def means(pseudo: PseudoOutcomes) -> np.ndarray:
    """Mean outcome of the rows outside each row's fold, shape [n]."""
    y, weight, fold = pseudo.dataset.outcome, pseudo.dataset.weight, pseudo.fold
    of_fold = [np.average(y[fold != k], weights=weight[fold != k]) for k in range(int(fold.max()) + 1)]
    return np.asarray(of_fold)[fold]


def faults(pseudo: PseudoOutcomes) -> list[str]:
    """What may not be: numbers that are not finite or far away, a loss above the mean's, weights without their mean."""
    data = pseudo.dataset
    found = figures(pseudo)
    wrong = []
    if not all(np.isfinite(values).all() for values in (pseudo.m, pseudo.g, pseudo.s, pseudo.xi)):
        wrong.append("not finite")
    if found["beyond"] > 0.5:
        wrong.append(f"m or g are {found['beyond']:.3g} ranges beyond the outcomes")
    if worse_than_mean(data.outcome, pseudo.m, means(pseudo), data.weight, data.group) is not None:
        wrong.append(f"held-out loss is {found['loss']:.3g} times that of the mean")
    if pseudo.corrected and not MEAN_WEIGHT[0] <= found["mean_weight"] <= MEAN_WEIGHT[1]:
        wrong.append(f"mean weight {found['mean_weight']:.3g}, and no failure is said")
    return wrong
