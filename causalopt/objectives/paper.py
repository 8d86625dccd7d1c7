"""The objectives of Lin, Ben-Michael and Morency (UAI 2024): CPO, OO-RLHF and DR-CPO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from causalopt.objectives.contract import ObjectiveInputs
from causalopt.objectives.modifiers import Modifiers


@dataclass(frozen=True)
class CPO(Modifiers):
    """Causal preference optimisation: maximise mean_i rho_i * xi_i (Lin et al. 2024, the CPO objective)."""

    @property
    def needs_samples(self) -> bool:
        return self.regularized

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._data_term(inputs, inputs.residual + inputs.g)


@dataclass(frozen=True)
class OORLHF(Modifiers):
    """Outcome-optimised RLHF: maximise mean_j rho~_j * g(x~_j), all on texts drawn from the reference."""

    @property
    def needs_samples(self) -> bool:
        return True

    @property
    def takes_on_policy_texts(self) -> bool:
        return True

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._sampled_term(inputs)


@dataclass(frozen=True)
class DRCPO(Modifiers):
    """Doubly robust CPO: maximise mean_i rho_i * (xi_i - g_i) + mean_j rho~_j * g(x~_j).

    The DR-CPO objective of Lin et al. (2024): the sampled term alone is right when g is, and the data term corrects
    what is wrong with g when the ratios and the stabilized weights are right.

    Attributes
    ----------
    second_stage:
        What predicts xi_i - g_i from the text: its predictions take the place of xi_i - g_i, whose noise they leave out
        (`causalopt.optimization.second_stage.expected_residual`). ``ridge-text`` is a ridge on the embedding with a
        random effect of each text, which keeps what the embedding does not show; an outcome model, by name or with
        settings, corrects what its regression finds and no more. None keeps xi_i - g_i, as the paper does. Read by
        whoever makes the problem (`causalopt.optimization.problem.policy_problem`).
    """

    second_stage: str | Mapping[str, Any] | None = "ridge-text"

    @property
    def needs_samples(self) -> bool:
        return True

    @property
    def takes_on_policy_texts(self) -> bool:
        return True

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._data_term(inputs, inputs.residual) - self._sampled_term(inputs)
