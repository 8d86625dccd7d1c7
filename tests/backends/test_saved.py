"""A saved policy names its backend; one that names none that is installed says so. (A plugin's: `test_plugin_page`.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from causalopt.backends import load_policy
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.backends.saved import NOTE, backend_of, name_backend
from causalopt.errors import ConfigError, ModelError


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
