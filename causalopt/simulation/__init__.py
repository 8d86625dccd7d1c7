"""Simulated worlds whose causal effects are known exactly."""

from causalopt.simulation.all_texts import SampledValue, value_of_all_texts
from causalopt.simulation.contaminated_world import ContaminatedWorld
from causalopt.simulation.contracts import AnyTextWorld, TrueValue, TwoSampleWorld, World
from causalopt.simulation.enumerated import EnumeratedWorld
from causalopt.simulation.feedback_world import VoluntaryFeedbackWorld
from causalopt.simulation.finite_world import FiniteWorld
from causalopt.simulation.semi_synthetic_world import SemiSyntheticWorld
from causalopt.simulation.template_world import TemplateWorld
from causalopt.simulation.traffic_world import LoggedTrafficWorld

__all__ = [
    "AnyTextWorld",
    "ContaminatedWorld",
    "EnumeratedWorld",
    "FiniteWorld",
    "LoggedTrafficWorld",
    "SampledValue",
    "SemiSyntheticWorld",
    "TemplateWorld",
    "TrueValue",
    "TwoSampleWorld",
    "VoluntaryFeedbackWorld",
    "World",
    "value_of_all_texts",
]
