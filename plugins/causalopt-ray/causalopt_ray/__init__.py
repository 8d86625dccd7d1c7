"""An executor for causalopt on Ray."""

from causalopt_ray.executor import RayExecutor

__all__ = ["RayExecutor"]
