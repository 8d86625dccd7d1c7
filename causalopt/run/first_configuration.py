"""A first configuration for a table: what is proposed, and why, as a YAML file of a dozen lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from causalopt.data.messages import split_messages
from causalopt.data.proposal import Proposal
from causalopt.errors import ModelError
from causalopt.language_models import scratch, smollm2

READINGS = 3
"""Readings of each text, on average, from which the choice is one among the texts of the table."""
END_OF_DOCUMENT = "...\n"
"""What YAML writes after a value that stands alone."""
COMMENT = 60
"""Column at which comments begin."""

CHOICE = ({"name": "finite", "l2": 1.0e-6, "max_kl": None}, "a choice among few variants: it may take the best alone")
"""Backend, and why, where variants are chosen among."""


def first_backend(frame: pd.DataFrame, settings: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Propose a backend, and say why: texts that many read are chosen among, others are written by a model.

    Returns
    -------
    backend, reason:
        The section ``backend``, and the reason in words.
    """
    frame, prompt = split_messages(frame, settings["text"], settings.get("prompt"), "the table")
    readings = len(frame) * len(settings.get("wide", {}).get("raters", [0]))
    columns = [settings["text"]] if prompt is None else [settings["text"], prompt]
    texts = len(frame[columns].map(str).drop_duplicates())
    if readings >= READINGS * texts:
        return {"name": "finite"}, f"{readings:,} readings of {texts:,} texts: a policy that chooses among them"
    try:
        smollm2.check_smollm2()
    except ModelError:
        return {"name": "huggingface", "model": scratch.NAME}, (
            "a trial: a small model trained on your texts alone; for real use name one, such as a hub id"
        )
    return {"name": "huggingface", "model": smollm2.NAME}, "a language model of 135M parameters, which is installed"


def as_yaml(table: Path, proposal: Proposal, backend: dict[str, Any], reason: str) -> str:
    """Return the text of a configuration, with the reason for each role as a comment; defaults are left out."""
    lines = [
        f"# Written by: causalopt init {table}. Every other setting has its default: see docs/reference.md.",
        "data:",
        _line("  path", str(table)),
    ]
    for name, value in proposal.settings.items():
        why = proposal.reasons.get(value) if isinstance(value, str) else None
        if name == "covariates":
            why = "possible causes of both what a reader was shown and the response"
        elif name == "outcome_map":
            why = "a number for each word"
        elif name == "wide":
            why = "each of these columns holds a rater's answers"
        lines.append(_line(f"  {name}", value, why))
    for column, why in proposal.reasons.items():
        if why.startswith("left out"):
            lines.append(f"  # {column}: {why}")
    lines += ["  direction: maximize" + " " * (COMMENT - 21) + "  # or minimize", _line("backend", backend, reason)]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Any, comment: str | None = None) -> str:
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    line = f"{name}: {written.removesuffix(END_OF_DOCUMENT).strip()}"
    return line if comment is None else f"{line:<{COMMENT}}  # {' '.join(comment.split())}"
