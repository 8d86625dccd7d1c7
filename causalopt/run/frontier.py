"""`causalopt frontier`: the path of a run's fit, and another point of it as a policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causalopt import plugins
from causalopt.backends import load_policy
from causalopt.durable import check_artefact
from causalopt.errors import ConfigError, DataError
from causalopt.optimization.kl_limit import kl_to
from causalopt.optimization.path import at, factor_at_kl
from causalopt.run.config import load_config
from causalopt.run.plan import read_data
from causalopt.run.replacement import ENDS
from causalopt.run.saved_files import AGAIN, read_metrics
from causalopt.simulation.contracts import SimulatedWorld


@dataclass(frozen=True)
class PathPoint:
    """A policy on the path of a run.

    Attributes
    ----------
    factor, kl:
        Its place, and its KL to the reference, nats.
    low, high:
        Bounds of its gain by the run's simultaneous band, outcome units: those of the two points that it lies between,
        so that they hold if the gain is monotone there. None if it lies beyond the last point, or there is no band.
    """

    factor: float
    kl: float
    low: float | None
    high: float | None


def frontier_of(run_directory: Path) -> dict[str, Any]:
    """Return the frontier of a finished run, as in its ``metrics.json``.

    Raises
    ------
    ConfigError
        If this is not a finished run, or it chose no point of its path.
    """
    path = run_directory / "metrics.json"
    if not path.is_file():
        raise ConfigError(f"{run_directory}: is not a finished run (it has no metrics.json)")
    found: dict[str, Any] | None = read_metrics(path).get("frontier")
    if found is None:
        raise ConfigError(f"{run_directory}: has no frontier: it set no rows apart (choose, in its config.yaml)")
    if not (isinstance(found, dict) and {"points", "sentence", "chosen"} <= found.keys()):
        raise DataError(f"{path}: is damaged: its 'frontier' is not that of a run; {AGAIN}")
    return found


def write_point(run_directory: Path, kl: float, out: Path) -> PathPoint:
    """Write the policy of a run's path at another KL, from its reference and the end of its fit.

    A point that is picked after a look at the frontier has the band, which holds for all of them at once, and not an
    interval of its own.

    Parameters
    ----------
    run_directory:
        A finished run.
    kl:
        KL to the reference, nats.
    out:
        Folder of the policy, which must not exist.

    Raises
    ------
    ConfigError
        If this is not a finished run, the KL is not positive, or ``out`` exists.
    """
    found = frontier_of(run_directory)
    fit = found.get("correlation")  # of several fits, the one that the run's policy is from
    points = [one for one in found["points"] if one.get("correlation") == fit]
    if not 0 < kl < float("inf"):
        raise ConfigError(f"--choose {kl:g}: must be a KL above 0 nats; the reference is {run_directory / 'reference'}")
    if out.exists():
        raise ConfigError(f"{out}: already exists; name another folder with --out")
    check_artefact(run_directory / "config.yaml")
    config = load_config(run_directory / "config.yaml")
    folder = "end" if fit is None else f"{ENDS}/correlation {fit:g}"
    reference, end = (load_policy(run_directory / name) for name in ("reference", folder))
    world: SimulatedWorld | None = None if config.data.world is None else plugins.worlds.create(config.data.world)
    distance = kl_to(reference, read_data(config, world)[0], config.seed, config.evaluation.draws)
    factor = factor_at_kl(end, reference, kl, distance)
    policy = at(end, reference, factor)
    policy.save(out)
    return PathPoint(factor, distance(policy), *_band(points, factor))


def _band(points: list[dict[str, Any]], factor: float) -> tuple[float | None, float | None]:
    known = [{"factor": 0.0, "ci_low": 0.0, "ci_high": 0.0}, *(one for one in points if one["gain"] is not None)]
    below = [one for one in known if one["factor"] <= factor]
    above = [one for one in known if one["factor"] >= factor]
    if not above:
        return None, None
    near = below[-1], above[0]
    return min(one["ci_low"] for one in near), max(one["ci_high"] for one in near)
