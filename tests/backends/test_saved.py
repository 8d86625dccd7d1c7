"""A saved policy names its backend; one that names none that is installed says so. (A plugin's: `test_plugin_page`.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causalopt.backends import load_policy
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.backends.saved import NOTE, backend_of, name_backend
from causalopt.errors import CausalOptError, ConfigError, ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    FinitePolicy(["a", "b"], np.log([0.3, 0.7]), np.zeros((2, 1)), np.zeros(1)).save(tmp_path / "policy")
    return tmp_path / "policy"


def test_it_is_loaded_by_the_backend_that_it_names(folder: Path) -> None:
    assert backend_of(folder) == "finite"
    np.testing.assert_allclose(load_policy(folder).log_prob(None, ["b"]), np.log([0.7]))


def test_a_backend_that_is_not_installed_is_named(folder: Path) -> None:
    name_backend(folder, "finit")
    with pytest.raises(ConfigError, match=r"no backend is called 'finit' \(did you mean 'finite'\?\)"):
        load_policy(folder)


def test_a_note_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / NOTE).write_text("{")
    with pytest.raises(ModelError, match="does not name a backend"):
        load_policy(folder)


def finite() -> FinitePolicy:
    return FinitePolicy(["a", "b", "c"], np.zeros(3), np.eye(3), np.zeros(3))


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(["finite_policy.json", "finite_policy.safetensors", "causalopt_backend.json"]),
    place=st.floats(0, 1),
    change=st.binary(min_size=1, max_size=20),
    cut=st.booleans(),
)
def test_a_policy_whose_files_were_changed(tmp_path, name, place, change, cut):
    """Either it loads, and its probabilities are some, or one line says that it cannot be read."""
    finite().save(tmp_path / "policy")
    path = tmp_path / "policy" / name
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + change + (b"" if cut else whole[at + len(change) :]))
    try:
        policy = load_policy(tmp_path / "policy")
    except CausalOptError as error:
        said = str(error)
    else:
        assert isinstance(policy, FinitePolicy)
        assert np.isfinite(policy.probability).all()
        return
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("source", ["", "a\0b", "x" * 5000, 3, None, ["a"]])
def test_what_is_no_name_of_a_policy(source):
    with pytest.raises(CausalOptError):
        load_policy(source)
