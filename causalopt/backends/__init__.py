"""Backends make policies; `load_policy` reads any policy back."""

from __future__ import annotations

from pathlib import Path

from causalopt.backends.contracts import Policy

__all__ = ["load_policy"]


def load_policy(source: str | Path, cache: Path | None = None) -> Policy:
    """Load a policy from a folder that a backend saved, a PEFT adapter, a full model folder, or a hub id.

    A language model keeps its log-probabilities in the folder ``cache``, so that none is computed twice.

    Raises
    ------
    ModelError
        When there is no such policy.
    """
    if (Path(source) / "finite_policy.json").exists():
        from causalopt.backends.finite import FinitePolicy

        return FinitePolicy.load(source)
    from causalopt.backends.huggingface import HuggingFacePolicy

    policy = HuggingFacePolicy.load(source)
    policy.cache = cache
    return policy
