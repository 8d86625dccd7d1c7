"""What an outcome model and an assignment model must offer; any object that does is accepted."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from causalopt.typing import Array, Float64


@runtime_checkable
class OutcomeModel(Protocol):
    """E[Y | x, w], written m, and its average over readers.

    Shapes: ``x`` [n, d] embeddings, ``w`` [n, p] encoded covariates (p may be 0), ``y`` and ``weight`` [n].
    Values are in outcome units.
    """

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        """Fit on rows; ``weight`` is the exposure of each row and is never None (ones when there is none)."""
        ...

    def predict(self, x: Array, w: Array) -> Float64:
        """E[Y | x_i, w_i], shape [n]."""
        ...

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        """Mean over the reference readers of E[Y | x_i, w_k], shape [n]: the dose response g (row i over all k)."""
        ...


@runtime_checkable
class AveragesTexts(Protocol):
    """An outcome model that averages over texts itself; of any other the mean is taken over a sample of the texts."""

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over the texts of m(x_j, w_i), shape [n]."""
        ...


@runtime_checkable
class SamplesReaders(Protocol):
    """An outcome model whose mean over readers is taken on a sample of them, and has an error."""

    def marginal_with_error(self, x: Array, w_reference: Array, weight_reference: Float64) -> tuple[Float64, Float64]:
        """Mean as in `OutcomeModel.marginal`, and its Monte Carlo standard error, shapes [n]."""
        ...


@runtime_checkable
class AssignmentModel(Protocol):
    """The stabilized weight s(x, w) = p(x) / p(x | w) of the text a reader with ``w`` was shown."""

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        """Fit on rows; shapes as in `OutcomeModel`."""
        ...

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        """s(x_i, w_i), shape [n]: positive and finite, not truncated (the caller truncates, and reports it)."""
        ...
