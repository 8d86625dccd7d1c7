"""A tree ensemble as a sum over leaves, each a box in the text times a box in the reader: averages are exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from lightgbm import LGBMRegressor

from causalopt.blocks import blocks, by_blocks
from causalopt.typing import Array, Float64

Mask = npt.NDArray[np.bool_] | None
"""Mask of the rows that lie in a box; None if the box is unbounded in these columns."""


@dataclass(frozen=True, eq=False)
class LeafSum:
    """Trees f(x, w) = sum over leaves of value * [x in A] * [w in B], because each split is on one column.

    The mean over readers of a leaf is value * [x in A] * (share of the readers in B). It is exact, and needs one pass
    over the leaves and none over pairs of texts and readers; likewise the mean over texts.

    Attributes
    ----------
    trees:
        Roots as nested dictionaries, from LightGBM's `dump_model`.
    dimensions:
        Columns before this number belong to the text, the others to the reader.
    scale:
        Factor on every leaf.
    """

    trees: list[dict[str, Any]]
    dimensions: int
    scale: float = 1.0

    @classmethod
    def of(cls, booster: Any, dimensions: int, scale: float = 1.0, rounds: int | None = None) -> Self:
        """Read a LightGBM booster trained on ``hstack([x, w])`` with ``use_missing=False``."""
        trees = booster.dump_model(num_iteration=rounds)["tree_info"]
        return cls([tree["tree_structure"] for tree in trees], dimensions, scale)

    @classmethod
    def of_regressor(cls, model: Any, dimensions: int) -> Self | None:
        """Read a fitted `LGBMRegressor`; None of any other estimator, and if its prediction is no such sum of leaves.

        It is not with a link function, with missing values or categories in a split, or with regressions in the leaves.
        """
        if type(model) is not LGBMRegressor:
            return None
        dump = model.booster_.dump_model()
        trees = [tree["tree_structure"] for tree in dump["tree_info"]]
        plain = dump["objective"] == "regression" and not dump["average_output"]
        return cls(trees, dimensions) if plain and all(_is_plain(tree) for tree in trees) else None

    def predict(self, x: Array, w: Array) -> Float64:
        """f(x_i, w_i), shape [n]."""
        return by_blocks(self._predict, x, w)

    def _predict(self, x: Array, w: Array) -> Float64:
        total = np.zeros(len(x))
        for value, in_text, in_reader in self._leaves(x, w):
            both = in_reader if in_text is None else in_text if in_reader is None else in_text & in_reader
            _add(total, value, both)
        return self.scale * total

    def pairs(self, x: Array, w: Array) -> Float64:
        """f(x_i, w_k), shape [n, k]: for each tree a product of two tables, of texts in leaves and of readers."""
        total = np.zeros((len(x), len(w)))
        columns = _columns(x, w)
        for root in self.trees:
            values, in_text, in_reader = zip(*self._leaves_of(root, columns), strict=True)
            total += _table(in_text, len(x)).T @ (np.array(values)[:, None] * _table(in_reader, len(w)))
        return self.scale * total

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        """Weighted mean over the readers, exact, shape [n]."""
        share = weight_reference / weight_reference.sum()
        found = np.zeros(self._count)
        for part in blocks(len(w_reference)):
            of_leaf = [in_reader for _, _, in_reader in self._leaves(x[:0], w_reference[part])]
            found += [1.0 if mask is None else float(share[part] @ mask) for mask in of_leaf]

        def mean(texts: Array) -> Float64:
            total = np.zeros(len(texts))
            for among, (value, in_text, in_reader) in zip(found, self._leaves(texts, w_reference[:0]), strict=True):
                _add(total, value if in_reader is None else value * among, in_text)
            return total

        return self.scale * by_blocks(mean, x)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over the texts, exact, shape [n], one value per reader."""
        found = np.zeros(self._count)
        for part in blocks(len(x_draws)):
            of_leaf = [in_text for _, in_text, _ in self._leaves(x_draws[part], w[:0])]
            found += [1.0 if mask is None else float(mask.sum()) for mask in of_leaf]

        def mean(readers: Array) -> Float64:
            total = np.zeros(len(readers))
            leaves = self._leaves(x_draws[:0], readers)
            for inside, (value, in_text, in_reader) in zip(found / len(x_draws), leaves, strict=True):
                _add(total, value if in_text is None else value * inside, in_reader)
            return total

        return self.scale * by_blocks(mean, w)

    @property
    def _count(self) -> int:
        """Number of leaves."""
        return sum(_leaf_count(root) for root in self.trees)

    def _leaves(self, x: Array, w: Array) -> Iterator[tuple[float, Mask, Mask]]:
        columns = _columns(x, w)
        for root in self.trees:
            yield from self._leaves_of(root, columns)

    def _leaves_of(self, root: dict[str, Any], columns: list[Float64]) -> Iterator[tuple[float, Mask, Mask]]:
        """Value of each leaf of a tree, and the texts and the readers that lie in it."""
        pending: list[tuple[dict[str, Any], Mask, Mask]] = [(root, None, None)]
        while pending:
            node, in_text, in_reader = pending.pop()
            if "split_feature" not in node:
                yield float(node["leaf_value"]), in_text, in_reader
                continue
            feature = int(node["split_feature"])
            left = columns[feature] <= node["threshold"]
            for child, side in ((node["left_child"], left), (node["right_child"], ~left)):
                if feature < self.dimensions:
                    pending.append((child, side if in_text is None else in_text & side, in_reader))
                else:
                    pending.append((child, in_text, side if in_reader is None else in_reader & side))


def _leaf_count(root: dict[str, Any]) -> int:
    pending, count = [root], 0
    while pending:
        node = pending.pop()
        if "split_feature" in node:
            pending += [node["left_child"], node["right_child"]]
        else:
            count += 1
    return count


def _is_plain(root: dict[str, Any]) -> bool:
    """Whether a tree compares numbers that are not missing, and has constants in its leaves."""
    pending = [root]  # a tree may be deeper than calls can be nested
    while pending:
        node = pending.pop()
        if "split_feature" not in node:
            if "leaf_coeff" in node:
                return False
            continue
        if node["decision_type"] != "<=" or node["missing_type"] != "None":
            return False
        pending += [node["left_child"], node["right_child"]]
    return True


def _columns(x: Array, w: Array) -> list[Float64]:
    return [np.ascontiguousarray(column, dtype=np.float64) for column in (*np.asarray(x).T, *w.T)]


def _table(masks: tuple[Mask, ...], rows: int) -> Float64:
    """Which rows lie in each leaf, as zeros and ones, shape [leaves, rows]."""
    return np.array([np.ones(rows) if mask is None else mask for mask in masks], dtype=np.float64)


def _add(total: Float64, value: float, mask: Mask) -> None:
    if value == 0:
        return
    if mask is None:
        total += value
    else:
        np.add(total, value, out=total, where=mask)
