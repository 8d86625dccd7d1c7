"""Several runs in one table, and which of them can be compared."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from causalopt.durable import write_text
from causalopt.errors import ConfigError, DataError
from causalopt.output import check_new_file
from causalopt.run.replacement import read_manifest
from causalopt.run.saved_files import read_metrics

DEPTH = 3
"""Folders below the given one in which runs are looked for."""
GENERATOR = "causalopt runs"
"""What the page names as its writer, so that a later one may replace it."""


@dataclass(frozen=True)
class RunSummary:
    """A finished run in a line.

    Attributes
    ----------
    directory, date:
        Where it is, and when it was finished.
    data, outcome, direction, objective:
        What was optimised on what.
    value, difference, ci_low, ci_high, level:
        Value of the policy, and its difference from the reference with the interval, outcome units.
    ess, units, unit:
        Effective number of the units, their number, and what they are.
    kl:
        Distance from the reference, nats; None if it is not known.
    verdict:
        "better", "worse" or "unclear".
    thin:
        Whether overlap is thin.
    fingerprint, reference:
        What identifies the rows, and the reference policy.
    """

    directory: Path
    date: str
    data: str
    outcome: str
    direction: str
    objective: str
    value: float
    difference: float
    ci_low: float
    ci_high: float
    level: float
    ess: float
    units: int
    unit: str
    kl: float | None
    verdict: str
    thin: bool
    fingerprint: tuple[tuple[str, str], ...]
    reference: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``--json``."""
        return {**vars(self), "directory": str(self.directory), "fingerprint": dict(self.fingerprint)}


@dataclass(frozen=True)
class Catalogue:
    """Runs of a folder, by date, and the folders of runs that are not finished."""

    folder: Path
    runs: tuple[RunSummary, ...]
    unfinished: tuple[Path, ...]

    def remarks(self) -> list[str]:
        """Say which runs cannot be compared by their numbers, and how they could be."""
        if len(self.runs) < 2:
            return []
        first, found = self.runs[0], []
        for other in self.runs[1:]:
            reasons = differences(first, other)
            if reasons:
                found.append(f"{other.directory} and {first.directory}: {', '.join(reasons)}. {remedy(first, other)}")
        if found:
            return found
        names = f"{first.directory} {self.runs[1].directory}"
        return [f"All have the same rows, outcome and reference; the difference of two: causalopt compare {names}"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``--json``."""
        return {
            "folder": str(self.folder),
            "runs": [one.to_dict() for one in self.runs],
            "unfinished": [str(path) for path in self.unfinished],
            "remarks": self.remarks(),
        }


def catalogue(folder: Path) -> Catalogue:
    """Read all runs in a folder and in the folders below it.

    Raises
    ------
    ConfigError
        If there is no such folder.
    DataError
        If the files of a finished run are damaged.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder of runs")
    runs, unfinished = [], []
    for path in _runs_below(folder):
        manifest = read_manifest(path)
        if manifest is None or not manifest["finished"]:
            unfinished.append(path)
        else:
            runs.append(_summary(path, manifest))
    runs.sort(key=lambda one: (one.date, str(one.directory)))
    return Catalogue(folder, tuple(runs), tuple(unfinished))


def _runs_below(folder: Path, depth: int = DEPTH) -> list[Path]:
    if read_manifest(folder) is not None:
        return [folder]  # what is in a run belongs to it
    if depth == 0:
        return []
    below = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    # A folder whose name starts with a dot is of a run in progress.
    return [run for path in sorted(below) if path.name[0] != "." for run in _runs_below(path, depth - 1)]


def _summary(path: Path, manifest: dict[str, Any]) -> RunSummary:
    file = path / "metrics.json"
    metrics = read_metrics(file, ("value", "outcome", "direction", "objective", "overlap", "data", "outlook", "level"))
    try:
        difference, overlap = metrics["value"]["difference"], metrics["overlap"]
        keys = {one["name"]: one["key"] for one in manifest["stages"]}
        return RunSummary(
            directory=path,
            date=datetime.datetime.fromtimestamp(file.stat().st_mtime).isoformat(sep=" ", timespec="minutes"),
            data=metrics["data"]["source"],
            outcome=metrics["outcome"],
            direction=metrics["direction"],
            objective=metrics["objective"],
            value=metrics["value"]["policy"]["estimate"],
            difference=difference["estimate"],
            ci_low=difference["ci_low"],
            ci_high=difference["ci_high"],
            level=metrics["level"],
            ess=overlap["ess"],
            units=overlap["clusters"],
            unit=overlap["unit"],
            kl=metrics["kl"],
            verdict=metrics["outlook"],
            thin=metrics["thin"],
            fingerprint=tuple(sorted(manifest.get("fingerprint", {}).items())),
            reference=keys.get("reference policy"),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: is damaged, or of an older version: {error}; run `causalopt run` again") from None


def differences(one: RunSummary, other: RunSummary) -> list[str]:
    """Say why the numbers of two runs cannot be held against each other; nothing if they can."""
    found = []
    if one.fingerprint != other.fingerprint:
        found.append("other rows" if one.data == other.data else f"other data ({other.data}, not {one.data})")
    if one.outcome != other.outcome:
        found.append(f"another outcome ({other.outcome}, not {one.outcome})")
    if one.direction != other.direction:
        found.append(f"another direction ({other.direction}, not {one.direction})")
    if one.reference != other.reference:
        found.append("another reference, from which their differences are")
    return found


def remedy(one: RunSummary, other: RunSummary) -> str:
    """Say how two runs could be compared after all."""
    if one.outcome != other.outcome or one.direction != other.direction:
        return (
            "To compare their models, take a table with one outcome that neither has seen: "
            f"causalopt compare {one.directory} {other.directory} --data TABLE"
        )
    rows = " --data TABLE (rows that neither has seen)" if one.fingerprint != other.fingerprint else ""
    return f"To compare their models on the same rows: causalopt compare {one.directory} {other.directory}{rows}"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="{{ generator }}"><title>Runs</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% } th, td { border-bottom: 1px solid #ddd; padding: .4rem .6rem }
th { text-align: left } td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
</style></head><body>
<h1>Runs in {{ folder }}</h1>
<table><thead><tr>{% for name in head %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}<td{% if loop.index > 5 %} class="number"{% endif %}>{{ cell }}</td>
{% endfor %}</tr>{% endfor %}
</tbody></table>
<ul>{% for remark in remarks %}<li>{{ remark }}</li>{% endfor %}</ul>
{% if unfinished %}<p>Not finished: {{ unfinished | join(", ") }}</p>{% endif %}
</body></html>
"""

HEAD = ("run", "date", "data", "objective", "outcome", "value", "difference", "interval", "effective", "KL", "verdict")


def cells(one: RunSummary, folder: Path) -> tuple[str, ...]:
    """Return what a table shows of a run, in the order of `HEAD`."""
    name = one.directory.name if one.directory == folder else str(one.directory.relative_to(folder))
    better = "higher" if one.direction == "maximize" else "lower"
    return (
        name,
        one.date,
        one.data,
        one.objective,
        f"{one.outcome} ({better} is better)",
        f"{one.value:.4g}",
        f"{one.difference:+.3g}",
        f"{one.ci_low:+.3g} to {one.ci_high:+.3g}",
        f"{one.ess:.0f} of {one.units:,} {one.unit}",
        "–" if one.kl is None else f"{one.kl:.2g}",
        one.verdict + (", thin overlap" if one.thin else ""),
    )


def write_page(found: Catalogue, out: Path) -> None:
    """Write the table as one HTML file, which loads nothing.

    Raises
    ------
    ConfigError
        If there is a file that is no earlier page.
    """
    check_new_file(out)
    if out.exists() and not _is_page(out):
        raise ConfigError(f"{out}: already exists and is not a page of `{GENERATOR}`; name another file with --out")
    rows: Sequence[tuple[str, ...]] = [cells(one, found.folder) for one in found.runs]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)
    page = template.render(
        generator=GENERATOR,
        folder=found.folder,
        head=HEAD,
        rows=rows,
        remarks=found.remarks(),
        unfinished=list(map(str, found.unfinished)),
    )
    write_text(out, page)


def _is_page(out: Path) -> bool:
    try:
        with out.open(encoding="utf-8") as stream:
            return f'content="{GENERATOR}"' in stream.read(500)
    except (OSError, UnicodeDecodeError):
        return False
