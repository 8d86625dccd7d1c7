"""The methods that come with the benchmark, what of each is tuned, and the tuned values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalopt import plugins
from causalopt.errors import ConfigError
from causalopt.run.plan import with_defaults

_METHODS = "benchmarks.confounding.methods"
TUNED = Path(__file__).parent / "tuned.json"

RAW = {"outcome_model": "zero", "assignment_model": "randomized"}
REWARD_MODEL = {"outcome_model": "text-only", "assignment_model": "randomized"}


def _objective(name: str, nuisances: Mapping[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    method = {"method": f"{_METHODS}.objectives:ObjectiveMethod", "epochs": 1}
    return {**method, "objective": {"name": name, **settings}, **(nuisances or {})}


CATALOGUE: dict[str, dict[str, Any]] = {
    "dr_cpo": _objective("dr_cpo", second_stage="ridge-text"),
    "dr_cpo_raw": _objective("dr_cpo", second_stage=None),
    "dr_cpo_refreshed": {**_objective("dr_cpo", second_stage="ridge-text"), "refresh_every": 16},
    "cpo": _objective("cpo"),
    "oo_rlhf": _objective("oo_rlhf"),
    "grpo": {"method": f"{_METHODS}.reinforcement:GRPO"},
    "cpo_naive": _objective("cpo", RAW),
    "oo_rlhf_naive": _objective("oo_rlhf", REWARD_MODEL),
    "rlhf": {"method": f"{_METHODS}.reinforcement:GRPO", **REWARD_MODEL},
    "sft": _objective("sft", RAW),
    "sft_top": _objective("sft_top", RAW),
    "rwr": _objective("rwr", RAW),
    "kto": {"method": f"{_METHODS}.preferences:KTO", "epochs": 1},
    "dpo": {"method": f"{_METHODS}.preferences:DPO", "epochs": 1},
    "published": {"method": f"{_METHODS}.published:PublishedRecipe", "epochs": 1},
    "oracle": {"method": f"{_METHODS}.oracle:OracleMethod", "epochs": 1, "objective": {"name": "oo_rlhf"}},
}
"""What tables call a method, and how it is made before tuning."""


def _as_a_run(
    name: str, training: Mapping[str, Any] | None = None, valued: bool = True, **settings: Any
) -> dict[str, Any]:
    # With every default written out: a cell is not that of another default.
    objective = with_defaults(plugins.objectives, {"name": name, **settings})
    spec = {"method": f"{_METHODS}.reached:AsARun", "objective": objective}
    return {**spec, **({"training": dict(training)} if training else {}), **({} if valued else {"valued": False})}


RUNS: dict[str, dict[str, Any]] = {name: _as_a_run(name) for name in ("dr_cpo", "cpo", "oo_rlhf")}
"""Methods with the package's defaults, whose policy is chosen on rows set apart: nothing of them is tuned here."""

_BEFORE = {"valued": False, "kl": 0.1, "forward_kl": 0.3}
SETTINGS: dict[str, dict[str, Any]] = {
    "dr_cpo": _as_a_run("dr_cpo", valued=False),
    "dr_cpo, penalties 0.1 and 0.3": _as_a_run("dr_cpo", **_BEFORE),
    "dr_cpo, penalties 0.02 and 0.1": _as_a_run("dr_cpo", valued=False, kl=0.02, forward_kl=0.1),
    "dr_cpo, penalties 0.02 and 0.1, pessimism 2": _as_a_run(
        "dr_cpo", valued=False, kl=0.02, forward_kl=0.1, pessimism=2.0
    ),
    "dr_cpo, taper": _as_a_run("dr_cpo", **_BEFORE, taper=True),
    "dr_cpo, band 0.3": _as_a_run("dr_cpo", **_BEFORE, band=0.3),
    "dr_cpo, learning rate 4e-3": _as_a_run("dr_cpo", {"learning_rate": 4e-3}, **_BEFORE),
    "dr_cpo, 300 updates": _as_a_run("dr_cpo", {"max_steps": 300}, **_BEFORE),
    "wll": _as_a_run("wll", **_BEFORE),
    "cpo": _as_a_run("cpo", **_BEFORE),
    "oo_rlhf": _as_a_run("oo_rlhf", **_BEFORE),
}
"""The default and its alternatives, compared on validation seeds; they had the penalties that were the default before,
0.1 and 0.3, where no others are named."""

NAIVE = ("cpo_naive", "oo_rlhf_naive", "rlhf", "sft", "sft_top", "rwr", "kto", "dpo")
"""Methods that take the outcome for the text's doing."""

_RATES = [3e-4, 1e-3, 2e-3, 4e-3, 8e-3]
_FAST_RATES = [4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2]
_REGULARIZED = {
    "learning_rate": _RATES,
    "objective.kl": [0.02, 0.05, 0.1, 0.3],
    "objective.forward_kl": [0.02, 0.05, 0.1, 0.3],
}
_ON_POLICY = {"learning_rate": [1e-3, 3e-3, 6e-3, 1e-2, 2e-2], "beta": [0.0, 0.02, 0.05, 0.1]}
SPACES: dict[str, dict[str, list[Any]]] = {
    **dict.fromkeys(
        ("dr_cpo", "dr_cpo_raw", "dr_cpo_refreshed", "cpo", "oo_rlhf", "cpo_naive", "oo_rlhf_naive", "oracle"),
        _REGULARIZED,
    ),
    **dict.fromkeys(("grpo", "rlhf"), _ON_POLICY),
    "sft": {"learning_rate": [*_RATES, 1.6e-2, 3.2e-2, 6.4e-2]},
    "sft_top": {"learning_rate": _FAST_RATES, "objective.fraction": [0.05, 0.1, 0.25, 0.5]},
    "rwr": {"learning_rate": _FAST_RATES, "objective.temperature": [0.1, 0.3, 0.5, 1.0]},
    "kto": {"learning_rate": _RATES, "beta": [0.02, 0.05, 0.1, 0.3, 1.0]},
    "dpo": {"learning_rate": [*_RATES[1:], 1.6e-2], "beta": [0.02, 0.05, 0.1, 0.3, 1.0]},
    "published": {"learning_rate": [5e-5, 1e-4, *_RATES, 1.6e-2]},
}
"""The grid from which the trials of each method are drawn; a dot reaches into a nested setting."""


def method_spec(label: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of one of our methods with their tuned values, and ``changes`` on top."""
    if label not in CATALOGUE:
        raise ConfigError(f"there is no method {label!r}; there are {', '.join(CATALOGUE)}")
    tuned = json.loads(TUNED.read_text(encoding="utf-8"))["chosen"] if TUNED.exists() else {}
    return {**with_settings(CATALOGUE[label], tuned.get(label, {})), **changes}


def with_settings(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``spec`` with settings whose names may have a dot."""
    result = dict(spec)
    for name, value in settings.items():
        outer, _, inner = name.partition(".")
        result[outer] = {**result[outer], inner: value} if inner else value
    return result
