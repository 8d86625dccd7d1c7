"""Worlds whose causal effects are known exactly."""

from causalopt.simulation.contracts import TrueValue, World
from causalopt.simulation.enumerated import EnumeratedWorld
from causalopt.simulation.finite_world import FiniteWorld
from causalopt.simulation.template_world import TemplateWorld

__all__ = ["EnumeratedWorld", "FiniteWorld", "TemplateWorld", "TrueValue", "World"]
