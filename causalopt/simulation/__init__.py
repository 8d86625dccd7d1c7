"""Simulated worlds whose causal effects are known exactly."""

from causalopt.simulation.all_texts import value_of_all_texts
from causalopt.simulation.contaminated_world import ContaminatedWorld
from causalopt.simulation.contracts import (
    AnyTextWorld,
    OpenWorld,
    SampledValue,
    SimulatedWorld,
    TrueValue,
    TwoSampleWorld,
    World,
)
from causalopt.simulation.enumerated import EnumeratedWorld
from causalopt.simulation.feedback_world import VoluntaryFeedbackWorld
from causalopt.simulation.finite_world import FiniteWorld
from causalopt.simulation.language_model_world import LanguageModelWorld
from causalopt.simulation.semi_synthetic_world import SemiSyntheticWorld
from causalopt.simulation.template_world import TemplateWorld
from causalopt.simulation.traffic_world import LoggedTrafficWorld

__all__ = [
    "AnyTextWorld",
    "ContaminatedWorld",
    "EnumeratedWorld",
    "FiniteWorld",
    "LanguageModelWorld",
    "LoggedTrafficWorld",
    "OpenWorld",
    "SampledValue",
    "SemiSyntheticWorld",
    "SimulatedWorld",
    "TemplateWorld",
    "TrueValue",
    "TwoSampleWorld",
    "VoluntaryFeedbackWorld",
    "World",
    "value_of_all_texts",
]
