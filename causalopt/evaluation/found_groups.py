"""Groups of readers found in the training rows: leaves of a shallow tree of their estimated gain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeRegressor

from causalopt.backends.contracts import Policy
from causalopt.backends.optimized import OptimizedPolicy
from causalopt.data.covariates import levels_of
from causalopt.data.reader_groups import Condition, ReaderGroup, ReaderGroups
from causalopt.doors import check_contract, check_number, check_seed, check_type
from causalopt.errors import ConfigError
from causalopt.evaluation.policies import NOT_CALLED, Draws, LoggedPolicy, as_subject, context_rows
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.signatures import LARGEST_COUNT
from causalopt.typing import Array, Float64, Int64

MOST_LEAVES = 4
SMALLEST_SHARE = 0.15
"""Smallest share of the training rows in a leaf: a group must keep enough rows in a test set."""
FEWEST_ROWS = 40
LEAST_GAIN = 0.02
"""Share of the variance of the readers' estimated gain that a division must explain."""
ROUNDING = 1e-7
"""Standard deviations of the outcome below which a difference between readers' gains is rounding."""


def find_groups(
    policy: Policy,
    train: PseudoOutcomes,
    *,
    reference: Policy | LoggedPolicy | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> ReaderGroups:
    """Find groups of readers whose gain, policy minus reference, differs by the training rows' own nuisances.

    A regression tree with at most four leaves is grown on the covariates of the training rows. Its target is the gain
    of each reader by the training rows' outcome model: m of the reader averaged over texts of the policy, minus the
    same over texts of the reference. The test rows play no part, so that an interval computed on them is that of a
    group fixed in advance (Athey and Imbens 2016 call such a tree honest).

    Parameters
    ----------
    policy, reference:
        As in `causalopt.evaluate`.
    train:
        Pseudo-outcomes of the training rows, with their fitted models.
    draws, seed:
        Number of texts drawn from each policy, and the seed of the draws.

    Returns
    -------
    ReaderGroups
        The leaves, named by their conditions; no group if no division explains the gains.

    Raises
    ------
    ConfigError
        If the rows have no covariates, or there is no reference.
    """
    check_type("find_groups: train", train, (PseudoOutcomes,), "the PseudoOutcomes of the training rows")
    check_number("find_groups: draws", draws, least=1, most=LARGEST_COUNT, whole=True)
    check_seed("find_groups: seed", seed)
    data = train.dataset
    if reference is None and isinstance(policy, OptimizedPolicy):
        reference = policy.reference
    if reference is None:
        raise ConfigError("find_groups needs reference=, the policy to compare with")
    for name, one in (("policy", policy), ("reference", reference)):
        if not isinstance(one, NOT_CALLED):
            check_contract(f"find_groups: {name}", one, ["log_prob", "sample"], "a policy")
    if not data.covariates.shape[1]:
        raise ConfigError(
            f"{data.source}: groups of readers need covariates, and none are named: add them to data.covariates"
        )
    row = context_rows(data, draws, seed)
    drawn = [as_subject(one).draw(train, draws, seed, row) for one in (policy, reference)]
    if drawn[0] is None or drawn[1] is None:
        raise ConfigError("find_groups needs texts drawn from the policy, which are not available")
    new, old = (_by_reader(train, one) for one in drawn if one is not None)
    known = np.isfinite(new) & np.isfinite(old)
    return _leaves(
        data.covariates[known], (new - old)[known], data.weight[known], data.outcome_mean_and_spread()[1], seed
    )


def _by_reader(pseudo: PseudoOutcomes, drawn: Draws) -> Float64:
    """Mean response of each row's reader to a policy's texts, shape [n]; nan if none was drawn for the row's prompt."""
    data = pseudo.dataset
    if data.prompts is None:
        return pseudo.reader_response(drawn.sample(data.weight, 0)[0])
    assert drawn.row is not None
    return np.asarray(pd.Series(drawn.g).groupby(drawn.row).mean().reindex(range(len(data))).to_numpy(dtype=np.float64))


def _leaves(covariates: pd.DataFrame, gain: Float64, weight: Float64, scale: float, seed: int) -> ReaderGroups:
    """Grow the tree and read off its leaves; ``scale`` is the standard deviation of the outcome."""
    gain = np.round(gain / (ROUNDING * scale)) * ROUNDING if scale > 0 else np.zeros(len(gain))
    variance = float(np.cov(gain, aweights=weight)) if len(gain) > 1 else 0.0
    nobody = ReaderGroups((), ("No division of the readers explains differences between their estimated gains.",))
    smallest = max(FEWEST_ROWS, int(np.ceil(SMALLEST_SHARE * len(gain))))
    if variance <= ROUNDING**2 or len(gain) < 2 * smallest:
        return nobody
    columns, features = _columns(covariates)
    tree = DecisionTreeRegressor(
        max_leaf_nodes=MOST_LEAVES,
        min_samples_leaf=smallest,
        min_impurity_decrease=LEAST_GAIN * variance,
        random_state=seed,
    ).fit(features, gain, sample_weight=weight)
    leaves = _conditions(tree.tree_, columns)
    if len(leaves) < 2:
        return nobody
    return ReaderGroups(tuple(ReaderGroup.of("found", conditions) for conditions in leaves))


def _columns(covariates: pd.DataFrame) -> tuple[list[tuple[str, str | None]], Array]:
    """Numbers as they are, and an indicator of each level: names with levels, and the columns [n, p]."""
    names: list[tuple[str, str | None]] = []
    values: list[Array] = []
    for name in covariates.columns:
        if pd.api.types.is_numeric_dtype(covariates[name]):
            names.append((name, None))
            values.append(covariates[name].to_numpy(dtype=np.float64))
            continue
        labels = levels_of(covariates[name]).astype(str)
        for level in np.unique(labels):
            names.append((name, str(level)))
            values.append((labels == level).astype(np.float64))
    return names, np.column_stack(values)


def _conditions(tree: object, columns: list[tuple[str, str | None]]) -> list[list[Condition]]:
    """Conditions of each leaf of a scikit-learn tree, from left to right."""
    left: Int64 = tree.children_left  # type: ignore[attr-defined]
    right: Int64 = tree.children_right  # type: ignore[attr-defined]
    feature: Int64 = tree.feature  # type: ignore[attr-defined]
    threshold: Float64 = tree.threshold  # type: ignore[attr-defined]

    def below(node: int, path: list[Condition]) -> list[list[Condition]]:
        if left[node] < 0:
            return [path]
        name, level = columns[feature[node]]
        if level is None:
            cut = float(f"{threshold[node]:.6g}")  # printed and used alike
            low, high = Condition(name, up_to=cut), Condition(name, above=cut)
        else:
            low, high = Condition(name, levels=(level,), others=True), Condition(name, levels=(level,))
        return [*below(int(left[node]), _and(path, low)), *below(int(right[node]), _and(path, high))]

    return below(0, [])


def _and(path: list[Condition], new: Condition) -> list[Condition]:
    """Add a condition to those of a path; one on the same covariate is merged where one condition says both."""
    for i, old in enumerate(path):
        if old.covariate != new.covariate:
            continue
        if old.levels is None:
            above = max((one.above for one in (old, new) if one.above is not None), default=None)
            up_to = min((one.up_to for one in (old, new) if one.up_to is not None), default=None)
            merged = Condition(old.covariate, above, up_to)
        elif old.others and new.levels is not None:
            # Not a, and b: that is b. Not a, and not b: none of both.
            merged = Condition(old.covariate, levels=(*old.levels, *new.levels), others=True) if new.others else new
        else:
            continue
        return [*path[:i], merged, *path[i + 1 :]]
    return [*path, new]
