"""The registry: built-in parts through entry points, users' parts through the decorator, messages that help."""

from __future__ import annotations

import pytest

from causalopt import plugins
from causalopt.errors import ConfigError
from causalopt.objectives.paper import DRCPO


def test_built_in_parts_are_found_by_name():
    assert plugins.objectives.create({"name": "dr_cpo", "kl": 0.1}) == DRCPO(kl=0.1)
    assert plugins.objectives.origin("dr_cpo") == "causalopt"


def test_every_registered_part_can_be_loaded():
    for registry in plugins.REGISTRIES.values():
        for name in registry.names():
            assert callable(registry.get(name)), name


def test_a_part_registered_in_code_is_created_like_any_other():
    registry = plugins.Registry("objective", "causalopt.none")

    @registry.register("mine")
    class Mine:
        def __init__(self, strength: float = 1.0) -> None:
            self.strength = strength

    assert registry.create({"name": "mine", "strength": 2.0}).strength == 2.0
    assert registry.origin("mine") == "in code"
    ready = Mine()
    assert registry.create(ready) is ready


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(ConfigError, match=r"no objective is called 'dr_cpoo' \(did you mean 'dr_cpo'\?\).*cpo, dr_cpo"):
        plugins.objectives.create("dr_cpoo")


def test_an_unknown_setting_says_which_was_meant():
    with pytest.raises(ConfigError, match=r"'dr_cpo' has no setting 'kll' \(did you mean 'kl'\?\)"):
        plugins.objectives.create({"name": "dr_cpo", "kll": 1})
