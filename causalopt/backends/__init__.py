"""Backends fit policies; `load_policy` loads any saved policy."""

from __future__ import annotations

from causalopt.backends.saved import load_policy

__all__ = ["load_policy"]
