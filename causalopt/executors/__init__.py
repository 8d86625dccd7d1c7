"""Tasks that do not depend on each other, in this process, in several, or on several machines."""

from __future__ import annotations

from causalopt.executors.contracts import EXECUTOR, Executor
from causalopt.executors.local import IN_PROCESS, LocalExecutor

__all__ = ["EXECUTOR", "IN_PROCESS", "Executor", "LocalExecutor"]
