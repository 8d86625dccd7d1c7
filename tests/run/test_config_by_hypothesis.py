"""Any YAML as a configuration: a configuration, or one line that names the key."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from causalopt.errors import CausalOptWarning, ConfigError
from causalopt.run.config import RunConfig, load_config, parse_config, set_key

bounded = settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.dates(), st.binary(max_size=2)
)
KEYS = st.sampled_from([*RunConfig.model_fields, "name", "path", "size", "level", "text"]) | SCALARS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def check_line(error: ConfigError, source: str) -> None:
    assert str(error).startswith(source)
    assert len(str(error).splitlines()) == 1


@bounded
@given(raw=st.dictionaries(st.sampled_from(list(RunConfig.model_fields)), VALUES, max_size=4))
@example(raw={"data": {"path": "a"}, "comparisons": {"x": {"objective": {"kl": 1}}}})
def test_any_values(raw: dict[str, Any]) -> None:
    for data in ({}, {"data": {"path": "survey.csv"}}):
        try:
            parse_config({**raw, **data}, source="run.yaml")
        except ConfigError as error:
            check_line(error, "run.yaml: ")


@bounded
@given(content=st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(content=b"\xff\xfe")
@example(content=b"[" * 5000)
@example(content=b"? [a]: b")
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    try:
        load_config(path)
    except ConfigError as error:
        check_line(error, str(path))


@bounded
@given(raw=VALUES)
def test_any_yaml(tmp_path: Path, raw: Any) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw))
    try:
        load_config(path)
    except ConfigError as error:
        check_line(error, str(path))


@bounded
@given(override=st.text(max_size=20) | st.builds("{}={}".format, st.text(max_size=8), st.text(max_size=8)))
@example(override=".=1")
@example(override="data.path.x=1")
@example(override="a=" + "[" * 2000)
def test_any_override(override: str) -> None:
    raw: dict[str, Any] = {"data": {"path": "survey.csv"}, "objective": "dr_cpo"}
    try:
        set_key(raw, override)
    except ConfigError as error:
        check_line(error, "--set")


@pytest.mark.parametrize("name", ["objective", "outcome_model", "assignment_model", "observation_model", "embedder"])
@bounded
@given(settings_=st.dictionaries(st.text(max_size=6), VALUES, max_size=3))
def test_any_settings_of_a_part(name: str, settings_: dict[str, Any]) -> None:
    from causalopt.run.plan import build_nuisances, resolve

    config = {"data": {"path": "survey.csv"}, name: settings_}
    with warnings.catch_warnings(action="ignore", category=CausalOptWarning):
        try:
            build_nuisances(resolve(parse_config(config)))
        except ConfigError as error:
            check_line(error, "")
