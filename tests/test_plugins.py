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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package that registers objectives as a user does: a module, and the metadata of its entry points."""

    def install(name: str, code: str, **points: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{point} = {name}:{target}" for point, target in points.items()]
        (about / "entry_points.txt").write_text("\n".join(["[causalopt.objectives]", *lines]))
        plugins._installed.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    plugins._installed.cache_clear()


@pytest.mark.parametrize(("code", "reason"), [
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("import none_such", "ModuleNotFoundError: No module named 'none_such'"),
    ("raise SystemExit(3)", "SystemExit: 3"),
    ("x = (", "SyntaxError"),
    ("", "AttributeError: module 'broken_.*' has no attribute 'Mine'"),
    ("Mine = 3", "is a int, and must be a class or a function"),
])  # fmt: skip
def test_a_package_that_cannot_be_imported_is_named(package, code, reason):
    name = f"broken_{abs(hash(code)) % 10**8}"
    package(name, code, mine="Mine")
    with pytest.raises(ConfigError, match=rf"objective 'mine' of the package {name} .*{reason}.*uninstall") as caught:
        plugins.objectives.create("mine")
    assert len(str(caught.value).splitlines()) == 1
    assert "dr_cpo" in plugins.objectives.names()
    assert plugins.objectives.create("dr_cpo") == DRCPO()


def test_a_part_that_cannot_be_built_names_its_package(package):
    package("fails_to_build", "class Mine:\n    def __init__(self):\n        raise KeyError('size')", mine="Mine")
    with pytest.raises(ConfigError, match=r"objective 'mine' \(fails_to_build\) cannot be built: KeyError: 'size'"):
        plugins.objectives.create("mine")


def test_a_package_that_takes_a_name_of_a_built_in_part_is_named(package):
    package("takes_names", "class Mine: ...", dr_cpo="Mine", own="Mine")
    origins = r"(causalopt and takes_names|takes_names and causalopt)"
    with pytest.raises(ConfigError, match=rf"objective 'dr_cpo' is registered by {origins}, .* uninstall one of them"):
        plugins.objectives.create("dr_cpo")
    assert "takes_names" in plugins.objectives.origin("dr_cpo")
    assert type(plugins.objectives.create("own")).__name__ == "Mine"


@pytest.mark.parametrize("spec", [None, 3, 0.5, True, b"dr_cpo", DRCPO, {}, {"name": 3}, {"name": "dr_cpo", 3: 4}])
def test_what_is_no_part(spec):
    with pytest.raises(ConfigError, match="objective"):
        plugins.objectives.create(spec)
