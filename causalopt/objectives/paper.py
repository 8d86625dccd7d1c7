"""The objectives of Lin, Ben-Michael and Morency (UAI 2024): CPO, OO-RLHF and DR-CPO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from causalopt.objectives.contract import ObjectiveInputs
from causalopt.objectives.modifiers import Modifiers, data_summands, sampled_summands


@dataclass(frozen=True)
class CPO(Modifiers):
    """Causal preference optimisation: maximise mean_i rho_i * xi_i (Lin et al. 2024, the CPO objective)."""

    @property
    def needs_samples(self) -> bool:
        return self.regularized

    def terms(self, inputs: ObjectiveInputs) -> list[tuple[Tensor, Tensor]]:
        return [data_summands(inputs, inputs.residual + inputs.g)]

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._data_term(inputs, inputs.residual + inputs.g)


@dataclass(frozen=True)
class OORLHF(Modifiers):
    """Outcome-optimised RLHF: maximise mean_j rho~_j * g(x~_j) over texts drawn from the reference."""

    @property
    def needs_samples(self) -> bool:
        return True

    @property
    def takes_on_policy_texts(self) -> bool:
        return True

    def terms(self, inputs: ObjectiveInputs) -> list[tuple[Tensor, Tensor]]:
        return [sampled_summands(inputs)]

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._sampled_term(inputs)


@dataclass(frozen=True)
class DRCPO(Modifiers):
    """Doubly robust CPO: maximise mean_i rho_i * (xi_i - g_i) + mean_j rho~_j * g(x~_j).

    The DR-CPO objective of Lin et al. (2024): the sampled term alone is right if g is right, and the data term corrects
    the error of g if the ratios and the stabilized weights are right.

    Attributes
    ----------
    second_stage:
        The model that predicts xi_i - g_i from the text. Its predictions replace xi_i - g_i, without their noise
        (`causalopt.optimization.second_stage.expected_residual`). ``ridge-text`` is a ridge regression on the embedding
        with a random effect of each text, which retains effects that the embedding does not show. An outcome model, by
        name or with settings, corrects only what its regression finds. None keeps xi_i - g_i, as in the paper. It is
        applied when the problem is created (`causalopt.optimization.problem.policy_problem`).
    """

    second_stage: str | Mapping[str, Any] | None = "ridge-text"

    @property
    def needs_samples(self) -> bool:
        return True

    @property
    def takes_on_policy_texts(self) -> bool:
        return True

    def terms(self, inputs: ObjectiveInputs) -> list[tuple[Tensor, Tensor]]:
        return [data_summands(inputs, inputs.residual), sampled_summands(inputs)]

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._data_term(inputs, inputs.residual) - self._sampled_term(inputs)
