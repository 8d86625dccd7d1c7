"""What the result of each stage of a run depends on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalopt import plugins
from causalopt.backends.contracts import CandidateBackend
from causalopt.plugins import Registry
from causalopt.run.config import RunConfig
from causalopt.run.plan import Plan, overridden
from causalopt.run.stages import code, content_of, digest_of, source_of

NUISANCES: dict[str, Registry] = {
    "embedder": plugins.embedders,
    "outcome_model": plugins.outcome_models,
    "assignment_model": plugins.assignment_models,
    "observation_model": plugins.observation_models,
}


class Keys:
    """Inputs of the stages of a plan, for `causalopt.run.stages.Stage`.

    Parameters
    ----------
    plan:
        The run.
    fingerprints:
        Of its data sets, by their purpose; see `Plan.data_sets`.
    """

    def __init__(self, plan: Plan, fingerprints: Mapping[str, str]) -> None:
        self._config = plan.config
        self.fingerprints = dict(fingerprints)
        # A backend that chooses among candidates takes them from all rows.
        everything = isinstance(plan.backend, CandidateBackend)
        self._backend = self._part(plugins.backends, self._config.backend) | {
            "data": self.fingerprints if everything else self.fingerprints["train"],
            "seed": self._config.seed,
            "code": code(),
        }

    def nuisances(self, comparison: str, rows: str, **more: Any) -> dict[str, Any]:
        """Return the inputs of the pseudo-outcomes of ``rows``: "train" or "test"."""
        config = overridden(self._config, comparison)
        used = (rows, f"outcome_{rows}")
        return {
            **{name: self._part(registry, getattr(config, name)) for name, registry in NUISANCES.items()},
            "cross_fitting": config.cross_fitting.model_dump(),
            "pilot": config.pilot.model_dump(),
            "data": {name: value for name, value in self.fingerprints.items() if name in used},
            # Names of columns and the population are not part of a fingerprint.
            "data settings": config.data.model_dump(mode="json", exclude={"path", "test"}),
            "seed": config.seed,
            "code": code(),
            **more,
        }

    def reference(self) -> dict[str, Any]:
        """Return the inputs of the reference policy."""
        return dict(self._backend)

    def texts(self) -> dict[str, Any]:
        """Return the inputs of the texts that are drawn from the reference."""
        drawn = {"samples": self._config.samples.model_dump(), "pilot": self._config.pilot.model_dump()}
        return {**self._backend, **drawn}

    def optimisation(self, comparison: str, **more: Any) -> dict[str, Any]:
        """Return the inputs of a fit, of the run's own policy ("") or of a comparison."""
        config = overridden(self._config, comparison)
        return {
            **self.nuisances(comparison, "train"),
            "backend": self._backend,
            "samples": config.samples.model_dump(),
            "objective": self._part(plugins.objectives, config.objective),
            "behavior_policy": config.behavior_policy,
            "target_kl": config.target_kl,
            "constraints": [one.model_dump() for one in config.constraints],
            **more,
        }

    def how_far(self) -> dict[str, Any]:
        """Return the inputs of the choice of a point of the path."""
        config = self._config
        return {
            **self.optimisation(""),
            "choose": None if config.choose is None else config.choose.model_dump(),
            "estimator": config.evaluation.estimators[0],
            "evaluation.draws": config.evaluation.draws,
            "data": self.fingerprints,
        }

    def evaluation(self, comparison: str) -> dict[str, Any]:
        """Return the inputs of the evaluation of the run's own policy ("") or of a comparison."""
        config = self._config
        return {
            **self.optimisation(comparison),
            "how far": digest_of(self.how_far()),
            "evaluation": config.evaluation.model_dump(),
            "data": self.fingerprints,
        }

    def without(self) -> dict[str, Any]:
        """Return the inputs of the nuisances without a covariate."""
        return self.nuisances("", "test", benchmark=self._config.evaluation.benchmark)

    @staticmethod
    def _part(registry: Registry, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return a part's settings, the source of all parts that they name, and the content of files that they name."""
        named = {settings["name"]: source_of(registry.get(settings["name"]))}
        for other in plugins.REGISTRIES.values():
            for name in _strings_in(settings) & set(other.names()):
                named[f"{other.kind} {name}"] = source_of(other.get(name))
        inside = {key: content_of(path) for key, path in paths_in(settings).items()}
        return {"settings": dict(settings), "source": named, "files": inside}


def _strings_in(settings: Any) -> set[str]:
    if isinstance(settings, Mapping | list | tuple):
        parts = settings.values() if isinstance(settings, Mapping) else settings
        return {found for part in parts for found in _strings_in(part)}
    return {settings} if isinstance(settings, str) else set()


def paths_in(settings: Any, key: str = "") -> dict[str, Path]:
    """Return the files and folders that exist among settings (tables, models), by their keys; a part's name is none.

    Examples
    --------
    >>> from causalopt.run.keys import paths_in
    >>> paths_in({"backend": {"model": "no such folder"}})
    {}
    """
    if isinstance(settings, Mapping | list | tuple):
        named = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
        parts = ((f"{key}.{name}" if key else str(name), part) for name, part in named if name != "name")
        return {name: path for start, part in parts for name, path in paths_in(part, start).items()}
    if isinstance(settings, (str, Path)) and str(settings) and len(str(settings)) < 1000 and os.path.lexists(settings):
        return {key: Path(settings)}
    return {}


def input_paths(config: RunConfig) -> dict[str, Path]:
    """Return the files and folders that a run reads, by their keys in the configuration."""
    return paths_in(config.model_dump(exclude={"estimate"}))
