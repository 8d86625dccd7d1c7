"""Features of pairs of a text and a reader, in blocks of equal variance, for balancing weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.linalg import qr

from causalopt.blocks import blocks
from causalopt.nuisance.features import ReaderFeatures
from causalopt.repeated import RepeatedRows
from causalopt.typing import Array, Embeddings, Float64

MOST_PRODUCTS = 512
"""Largest number of products of text coordinates and covariates."""
MOST_SQUARED = 22
"""Leading text coordinates whose squares and products enter: what the outcome model, linear in the text, misses."""
MOST_OF_PROMPT = 16
"""Leading coordinates of the text, and of the prompt, whose products enter."""
KNOTS = 10
"""Number of knots of the functions of a score, at most."""


@dataclass(frozen=True, eq=False)
class PairFeatures:
    """Blocks of features phi of a text (given its prompt, if there are prompts) and a reader.

    They are the text's embedding; squares and products of its leading 22 principal components; with prompts, the
    prompt's embedding, and products of the leading 16 components of text and prompt; the covariates with their squares
    and products; and the products of the text's embedding and the covariates. A score of the text, if it is given,
    enters as a piecewise linear function, and multiplied by the covariates. Each block has total variance one, so that
    a penalty treats them alike.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.pair_features import PairFeatures
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    >>> features = PairFeatures.of(x, w, np.ones(50))
    >>> features.pairs(features.text(x), features.reader(w)).shape  # 4 + 10, 2 + 3, and 4 times 5
    (50, 39)
    """

    components: _Components
    squares: _Block
    prompt: _Components | None
    with_prompt: _Block
    score: _Score | None
    readers: ReaderFeatures
    leading: int

    @classmethod
    def of(
        cls,
        x: Embeddings,
        w: Array,
        weight: Float64,
        prompt_columns: int = 0,
        score: Float64 | None = None,
        elsewhere: Float64 | None = None,
    ) -> Self:
        """Learn means and scales from rows.

        Parameters
        ----------
        x:
            Embeddings of the n rows' texts (with those of their prompts appended), shape [n, d].
        w:
            Encoded covariates, shape [n, p].
        weight:
            Exposure of each row, shape [n].
        prompt_columns:
            Number of columns, at the end of ``x``, that embed the prompt.
        score:
            A score of each row's text, shape [n], or None.
        elsewhere:
            Scores of other texts, which the functions of the score should tell apart as well. Beyond the range of the
            rows' scores the functions are constant.
        """
        share = weight / weight.sum()
        columns = x.shape[1] - prompt_columns
        components = _Components.of(x[:, :columns], share)
        prompt = _Components.of(x[:, columns:], share) if prompt_columns else None

        def squares(rows: slice) -> Float64:
            return _squares(components.transform(x[rows, :columns]))

        def with_prompt(rows: slice) -> Float64:
            of_text = components.transform(x[rows, :columns])[:, :MOST_OF_PROMPT]
            of_prompt = of_text[:, :0] if prompt is None else prompt.transform(x[rows, columns:])
            return _crossed(of_text, of_prompt[:, :MOST_OF_PROMPT])

        readers = ReaderFeatures.candidates(w, weight)[-1]
        count = readers.transform(w[:1]).shape[1]
        leading = min(components.axes.shape[1], max(MOST_PRODUCTS // count, 1)) if count else 0
        return cls(
            components,
            _Block.of(squares, share),
            prompt,
            _Block.of(with_prompt, share),
            None if score is None else _Score.of(score, elsewhere, share),
            readers,
            leading,
        )

    def text(self, x: Array, score: Float64 | None = None) -> Float64:
        """Features of texts (given their prompts) alone, shape [n, r]; with their ``score`` if the rows had one."""
        columns = x.shape[1] - (0 if self.prompt is None else self.prompt.axes.shape[0])
        of_text = self.components.transform(x[:, :columns])
        parts = [of_text, self.squares.standardize(_squares(of_text))]
        if self.prompt is not None:
            of_prompt = self.prompt.transform(x[:, columns:])
            products = _crossed(of_text[:, :MOST_OF_PROMPT], of_prompt[:, :MOST_OF_PROMPT])
            parts += [of_prompt, self.with_prompt.standardize(products)]
        if self.score is not None and score is not None:
            parts.append(self.score.transform(score))
        return np.hstack(parts)

    def reader(self, w: Array) -> Float64:
        """Features of readers alone, shape [n, q]."""
        features = self.readers.transform(w)
        return np.asarray(features / np.sqrt(max(features.shape[1], 1)))

    def pairs(self, text: Float64, reader: Float64) -> Float64:
        """Features of pairs, shape [n, r + q + products]; of the means of independent texts and readers, their mean."""
        parts = [text, reader, _crossed(text[:, : self.leading], reader)]
        if self.score is not None:
            parts.append(_crossed(text[:, -1:], reader))
        return np.hstack(parts)


@dataclass(frozen=True, eq=False)
class _Components:
    """Principal components of an embedding, together of variance one."""

    center: Float64
    axes: Float64

    @classmethod
    def of(cls, x: Embeddings, share: Float64) -> Self:
        if isinstance(x, RepeatedRows):
            x, share = x.table, np.bincount(x.code, weights=share, minlength=len(x.table)).astype(np.float64)
        center = sum((share[rows] @ _floats(x[rows]) for rows in blocks(len(x))), np.zeros(x.shape[1]))
        # Singular values of the triangular factor are those of all rows, as exact as if they were decomposed at once.
        factor, squares = np.zeros((0, x.shape[1])), 0.0
        for rows in blocks(len(x)):
            part = _floats(x[rows])
            scaled = (part - center) * np.sqrt(share[rows])[:, None]
            factor = scaled if len(x) == len(part) else np.asarray(qr(np.concatenate([factor, scaled]), mode="r"))
            squares += float(share[rows] @ np.sum(part**2, axis=1))
        _, singular, transposed = np.linalg.svd(factor, full_matrices=False)
        # The embedding's own scale is kept: directions in which texts differ most are penalised least.
        # Where all texts are one, what is left of them is rounding.
        size = float(np.sqrt(squares))
        real = singular > max(1e-6 * singular.max(initial=0.0), 1e-10 * size)
        total = float(np.sqrt(np.sum(singular[real] ** 2))) or 1.0
        return cls(center, transposed[real].T / total)

    def transform(self, x: Array) -> Float64:
        return np.asarray((_floats(x) - self.center) @ self.axes)


@dataclass(frozen=True, eq=False)
class _Block:
    """Mean of each feature of a block, whether it varies, and the block's total standard deviation."""

    center: Float64
    varies: Array
    spread: float

    @classmethod
    def of(cls, features: Callable[[slice], Float64], share: Float64) -> Self:
        """Learn from the features of all rows, which are computed a block of rows at a time."""
        parts = list(blocks(len(share)))
        center = np.sum([share[rows] @ features(rows) for rows in parts], axis=0)
        variance, squares = np.zeros(len(center)), np.zeros(len(center))
        for rows in parts:
            part = features(rows)
            variance += share[rows] @ (part - center) ** 2
            squares += share[rows] @ part**2
        varies = variance > 1e-20 * squares  # else it is constant, but for rounding
        return cls(center, varies, float(np.sqrt(np.sum(variance[varies]))) or 1.0)

    def standardize(self, features: Float64) -> Float64:
        return np.where(self.varies, (features - self.center) / self.spread, 0.0)


@dataclass(frozen=True, eq=False)
class _Score:
    """Piecewise linear functions of a score, together of variance one, and the score itself, of variance one."""

    knots: Float64
    functions: _Block
    itself: _Block

    @classmethod
    def of(cls, score: Float64, elsewhere: Float64 | None, share: Float64) -> Self:
        known = np.concatenate([score, score if elsewhere is None else elsewhere])
        known = known[np.isfinite(known)]
        rows = score[share > 0]
        inside = rows[np.isfinite(rows)]
        # Knots are at quantiles, where the texts are, but within the rows' scores: nothing is known beyond these, and a
        # line through a few draws that the reference hardly ever writes would be extrapolated to them.
        knots = np.quantile(known, np.linspace(0, 1, KNOTS)).round(12) if len(inside) else np.zeros(1)
        knots = np.unique(np.clip(knots, *_range(inside)))
        # An infinite score is that of a text which one of the policies never writes: rows of such texts have a knot of
        # their own.
        reach = max(float(np.ptp(knots)), 1.0)
        below = [knots[0] - reach] if np.isneginf(rows).any() else []
        above = [knots[-1] + reach] if np.isposinf(rows).any() else []
        knots = np.concatenate([below, knots, above])
        own = np.clip(score, knots[0], knots[-1])
        return cls(
            knots,
            _Block.of(lambda rows: _hats(own[rows], knots), share),
            _Block.of(lambda rows: own[rows, None], share),
        )

    def transform(self, score: Float64) -> Float64:
        """Return the functions, and the score as the last column, shape [n, number of knots + 1]."""
        own = np.clip(score, self.knots[0], self.knots[-1])
        return np.hstack([self.functions.standardize(_hats(own, self.knots)), self.itself.standardize(own[:, None])])


def _range(score: Float64) -> tuple[float, float]:
    return (float(score.min()), float(score.max())) if len(score) else (0.0, 0.0)


def _hats(score: Float64, knots: Float64) -> Float64:
    """Piecewise linear functions, each one at its knot and zero at the others, shape [n, number of knots]."""
    return np.column_stack([np.interp(score, knots, own) for own in np.eye(len(knots))])


def _floats(x: Array) -> Float64:
    return np.asarray(x, dtype=np.float64)


def _squares(components: Float64) -> Float64:
    """Squares and products of the leading components, shape [n, number of pairs]."""
    first, second = np.triu_indices(min(components.shape[1], MOST_SQUARED))
    return np.asarray(components[:, first] * components[:, second])


def _crossed(one: Float64, other: Float64) -> Float64:
    """All products of a column of each, shape [n, columns of one times columns of the other]."""
    return np.asarray((one[:, :, None] * other[:, None, :]).reshape(len(one), -1))
