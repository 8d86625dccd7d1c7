"""The device that this process computes on."""

from __future__ import annotations

import os

import torch


def default_device() -> torch.device:
    """Return the device of this process: its GPU when there is one and ``ACCELERATE_USE_CPU`` is not set."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")
