"""The values of all roles: read from a table, written to one canonical frame, and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data.columns import ROLES, SEVERAL, Columns, Role
from causalopt.typing import Int64


def attribute(role: Role) -> str:
    """Name the attribute of `causalopt.data.dataset.DirectOutcomeDataset` that holds a role's values."""
    return {"text": "texts", "prompt": "prompts"}.get(role.name, role.name)


ATTRIBUTES = tuple(attribute(role) for role in ROLES)


def read(table: pd.DataFrame, columns: Columns) -> dict[str, Any]:
    """Return the values of each attribute from a table with typed columns; None if a role is not filled."""
    return {attribute(role): _values(role, vars(columns)[role.name], table) for role in ROLES}


def frame_of(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return the canonical frame: text, outcome, weight, group, then the other roles that are filled."""
    frame = pd.DataFrame(
        {"text": values["texts"], "outcome": values["outcome"], "weight": values["weight"], "group": values["group"]}
    )
    prefixed: list[pd.DataFrame] = []
    for role in ROLES:
        held = values[attribute(role)]
        if role.kind in SEVERAL and held is not None:
            prefixed.append(held.add_prefix(_prefix(role)))
        elif held is not None:
            frame[role.name] = held
    return pd.concat([frame, *prefixed], axis=1)


def values_of(frame: pd.DataFrame, several: Mapping[str, Sequence[str] | None]) -> dict[str, Any]:
    """Invert `frame_of`; ``several`` names the columns of the roles that have several."""
    values: dict[str, Any] = {}
    for role in ROLES:
        names = several.get(role.name)
        if role.kind in SEVERAL and names is not None:
            named = {name: frame[_prefix(role) + name] for name in names}
            values[attribute(role)] = pd.DataFrame(named, index=frame.index)
        elif role.name not in frame:
            values[attribute(role)] = None
        elif role.kind == "label":  # codes already, and kept as they are
            values[attribute(role)] = frame[role.name].to_numpy(dtype=np.int64)
        else:
            values[attribute(role)] = _values(role, role.name, frame)
    return values


def name_of(label: Any) -> str:
    """Return the wording of a label; a whole number has no decimals, also if missing cells made it a float.

    Examples
    --------
    >>> from causalopt.data.canonical import name_of
    >>> name_of("first"), name_of(2), name_of(2.0)
    ('first', '2', '2')
    """
    whole = isinstance(label, Real) and float(label).is_integer()
    return f"{float(label):.0f}" if whole else str(label).strip()


def take(values: Any, position: Int64) -> Any:
    """Return an attribute's values at the rows ``position``."""
    if isinstance(values, list):
        return [values[i] for i in position]
    if isinstance(values, pd.DataFrame):
        return values.iloc[position].reset_index(drop=True)
    return None if values is None else values[position]


def _values(role: Role, column: Any, table: pd.DataFrame) -> Any:
    """Return the values of one column, or a frame if the role has several."""
    if isinstance(column, Mapping):
        named = {label: table[name].to_numpy(dtype=np.float64) for label, name in column.items()}
        return pd.DataFrame(named)
    if role.kind in SEVERAL and column is not None:
        return table[list(column)].reset_index(drop=True)
    if column is None:
        return None
    if role.kind == "text":
        return table[column].tolist()
    if role.kind == "name":
        return [name_of(label) for label in table[column]]
    if role.kind == "label":
        return pd.factorize(table[column])[0].astype(np.int64)
    if role.kind == "flag":
        return table[column].to_numpy(dtype=bool)
    return table[column].to_numpy(dtype=np.float64)


def _prefix(role: Role) -> str:
    """Return the prefix of a role's column names in the canonical frame, for roles that have several."""
    return role.name.removesuffix("s") + ":"
