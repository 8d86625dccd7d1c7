"""YAML as a configuration is written: plain values, every key once, and any fault one line."""

from __future__ import annotations

from typing import Any

import yaml

from causalopt.errors import ConfigError, one_line

DEEPEST = 50
"""Nesting of sections; a configuration has some six levels."""
MOST_VALUES = 10_000
"""Values of a configuration with its aliases written out, which may refer to one another and double each time."""


class _Loader(yaml.SafeLoader):
    """The safe loader, but for a key that is there twice, of which YAML would silently keep the last, and for depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise RecursionError
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                first = seen.setdefault(key.value, key)
                if first is not key:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice; keep one of them", key.start_mark
                    )
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str, what: str) -> Any:
    r"""Return the value of a YAML document; ``what`` names it in messages.

    Raises
    ------
    ConfigError
        If it is not valid YAML, a key is repeated, or it is nested too deeply or without end.

    Examples
    --------
    >>> from causalopt.run.strict_yaml import read_yaml
    >>> read_yaml("{kl: 0.1}", "run.yaml")
    {'kl': 0.1}
    >>> read_yaml("kl: 0.1\nkl: 0.2", "run.yaml")
    Traceback (most recent call last):
        ...
    causalopt.errors.ConfigError: run.yaml: line 2, column 1: the key 'kl' is there twice; keep one of them
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        _measure(value)
        return value
    except RecursionError:
        raise ConfigError(f"{what}: is nested deeper than {DEEPEST} levels") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        problem = " ".join(str(error.problem or error.context).split())
        said = problem if "is there twice" in problem else f"is not valid YAML: {problem}"
        raise ConfigError(f"{what}: {place}{said}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:  # a date of a 13th month, for one
        raise ConfigError(f"{what}: is not valid YAML: {one_line(error)}") from None


def _measure(value: Any) -> None:
    """Raise if a value is nested without end, or its aliases write out to more than a configuration can hold."""
    count, level = 0, [value]
    for _ in range(DEEPEST):
        count += len(level)
        if count > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list):
                below += one
            if len(below) > MOST_VALUES:
                break
        level = below
        if not level:
            return
    raise RecursionError
