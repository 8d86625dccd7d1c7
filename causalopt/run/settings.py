"""Types of settings that sections of a configuration share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from causalopt.output import impossible, shown_path

Part = dict[str, Any]


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {str(value).lower()}")
    return value


def _can_be_a_path(value: Any) -> Any:
    reason = impossible(value) if isinstance(value, str | Path) else None
    if reason is not None:
        raise ValueError(f"{reason}: {shown_path(value)}")
    return value


def _name_alone(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _has_name(value: Part) -> Part:
    if not isinstance(value.get("name"), str):
        raise ValueError("needs a 'name'")
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Number = Annotated[float, BeforeValidator(_no_boolean)]
"""A finite number; YAML's true is not 1."""
FilePath = Annotated[Path, BeforeValidator(_can_be_a_path)]
NamedPart = Annotated[Part, BeforeValidator(_name_alone), AfterValidator(_has_name)]
"""A replaceable part: its registered name, or a mapping with the name and the part's own settings."""


class Section(BaseModel):
    """A section of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
