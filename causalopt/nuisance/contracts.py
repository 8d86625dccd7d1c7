"""The interfaces of the nuisance models; any object that implements them is accepted."""

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
        """Fit on rows; ``weight`` is the exposure of each row and is never None (ones if there is none)."""
        ...

    def predict(self, x: Array, w: Array) -> Float64:
        """E[Y | x_i, w_i], shape [n]."""
        ...

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        """Mean over the reference readers of E[Y | x_i, w_k], shape [n]: the dose response g (row i over all k)."""
        ...


@runtime_checkable
class AveragesTexts(Protocol):
    """An outcome model that averages over texts itself; for other models a sample of the texts is averaged."""

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over the texts of m(x_j, w_i), shape [n]."""
        ...


@runtime_checkable
class SamplesReaders(Protocol):
    """An outcome model that averages over a sample of readers, with a Monte Carlo error."""

    def marginal_with_error(self, x: Array, w_reference: Array, weight_reference: Float64) -> tuple[Float64, Float64]:
        """Mean as in `OutcomeModel.marginal`, and its Monte Carlo standard error, each of shape [n]."""
        ...


@runtime_checkable
class ObservationModel(Protocol):
    """The probability pi(x, w) = p(observed | x, w) that a reader who was shown a text gives a response."""

    def fit(self, x: Array, w: Array, observed: Array, weight: Float64) -> Self:
        """Fit on rows; ``observed`` [n] is 0 or 1, other shapes as in `OutcomeModel`."""
        ...

    def probability(self, x: Array, w: Array) -> Float64:
        """pi(x_i, w_i), shape [n]: above 0 and at most 1, not truncated (the caller truncates, and reports it)."""
        ...


@runtime_checkable
class AssignmentModel(Protocol):
    """The stabilized weight s(x, w) = p(x) / p(x | w) of the text shown to a reader with covariates ``w``."""

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        """Fit on rows; shapes as in `OutcomeModel`."""
        ...

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        """s(x_i, w_i), shape [n]: positive and finite, not truncated (the caller truncates, and reports it)."""
        ...
