"""Backends make policies; `load_policy` reads any policy back."""

from __future__ import annotations

from causalopt.backends.saved import load_policy

__all__ = ["load_policy"]
