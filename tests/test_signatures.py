"""Settings against signatures, for every registered part: a wrong type is one line that names part and setting."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import pytest

from causalopt.errors import CausalOptError, ConfigError
from causalopt.plugins import REGISTRIES
from causalopt.signatures import MOST_SEED, check_settings

NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("embedders", "cached"): {"embedder": "tfidf-svd"},
    ("outcome_models", "best-of"): {"candidates": ["zero", "ridge"]},
    ("outcome_models", "sklearn"): {"estimator": "sklearn.linear_model.Ridge"},
    ("assignment_models", "best-of"): {"candidates": ["randomized", "gaussian"]},
    ("observation_models", "sklearn"): {"estimator": "sklearn.linear_model.LogisticRegression"},
    ("judges", "openai"): {"model": "m", "base_url": "http://127.0.0.1:9/v1"},
    ("worlds", "semi-synthetic"): {"path": "none.csv"},
}
"""Settings without a default, as they should be."""
WRONG = ("high", [1], {"a": 1}, 3.5, -3, float("nan"), float("inf"), 10**40, 1e200, None, True, {1: 2}, b"x")
PARTS = [
    (kind, name)
    for kind, registry in REGISTRIES.items()
    for name in registry.names()
    if registry.origin(name) == "causalopt"
]


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_no_value_of_any_setting_is_a_traceback(kind: str, name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    registry = REGISTRIES[kind]
    for key in inspect.signature(registry.get(name)).parameters:
        for value in WRONG:
            if key == "model" and isinstance(value, str):
                continue  # a hub may know it
            if kind == "worlds" and value in (3.5, True):
                continue  # a world of that kind, which takes time to make
            with suppress(CausalOptError):
                registry.create({"name": name, **NEEDED.get((kind, name), {}), key: value})


def factory(
    whole: int = 1,
    number: float = 1.0,
    maybe: float | None = None,
    flag: bool = True,
    word: str = "",
    choice: Literal["a", "b"] = "a",
    several: Sequence[str] = (),
    mapping: Mapping[str, Any] | None = None,
    either: str | Mapping[str, Any] = "",
    seed: int = 0,
    anything: Any = None,
) -> None:
    """Take a setting of each type."""


@pytest.mark.parametrize(("key", "value", "wanted"), [
    ("whole", 1.5, "a whole number, not 1.5"),
    ("whole", "1.5", "a whole number, not '1.5'"),
    ("whole", True, "a whole number, not True"),
    ("whole", 2**31, "between -2147483647 and 2147483647"),
    ("number", "high", "a number, not 'high'"),
    ("number", "1_000", "a number, not '1_000'"),
    ("number", float("nan"), "a number, not nan"),
    ("number", float("inf"), "a number, not inf"),
    ("number", "inf", "a number, not 'inf'"),
    ("number", None, "a number, not None"),
    ("number", 1e101, r"between -1e\+100 and 1e\+100"),
    ("maybe", [1], r"a number or null, not \[1\]"),
    ("flag", 1, "true or false, not 1"),
    ("flag", "yes", "true or false, not 'yes'"),
    ("word", 3, "a string, not 3"),
    ("choice", "c", "'a' or 'b', not 'c'"),
    ("choice", ["a"], "'a' or 'b', not"),
    ("several", "a", "a list of strings, not 'a'"),
    ("several", ["a", 3], "a list of strings, not"),
    ("mapping", [1], "a mapping of settings or null, not"),
    ("either", 3, "a string or a mapping of settings, not 3"),
    ("seed", -1, "seed must lie between 0 and 4294967295, not -1"),
    ("seed", 2**32, "seed must lie between 0 and 4294967295"),
])  # fmt: skip
def test_a_wrong_type_is_named(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"^part 'x': {key} must .*{wanted.removeprefix('seed must ')}") as caught:
        check_settings(factory, {key: value}, "part 'x'")
    assert len(str(caught.value)) < 200


def test_a_number_longer_than_python_writes() -> None:
    with pytest.raises(ConfigError, match=r"whole must lie between .*, not a int"):
        check_settings(factory, {"whole": 10**5000}, "part")


@pytest.mark.parametrize(("key", "value", "found"), [
    ("whole", 3.0, 3), ("whole", " 3", 3), ("number", "1e-3", 1e-3), ("number", 2, 2.0), ("maybe", None, None),
    ("several", ("a", "b"), ("a", "b")), ("either", {"name": "x"}, {"name": "x"}), ("anything", object, object),
    ("seed", MOST_SEED, MOST_SEED),
])  # fmt: skip
def test_numbers_as_yaml_writes_them(key: str, value: Any, found: Any) -> None:
    assert check_settings(factory, {key: value}, "part") == {key: found}
    assert type(check_settings(factory, {key: value}, "part")[key]) is type(found)


def test_what_is_not_annotated_or_needed() -> None:
    def plain(a, b=1, **more):
        return a, b, more

    assert check_settings(plain, {"a": "x", "b": "y", "c": 3}, "part") == {"a": "x", "b": "y", "c": 3}
    with pytest.raises(ConfigError, match="part needs a setting 'a'"):
        check_settings(plain, {}, "part")
    with pytest.raises(ConfigError, match=r"part has no setting 'wholes' \(did you mean 'whole'\?\)"):
        check_settings(factory, {"wholes": 1}, "part")
