"""Reading of the files of a run directory, with one clear line for anything missing or malformed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from causalopt.durable import check_artefact
from causalopt.errors import DataError, one_line
from causalopt.output import impossible, shown_path

OPTIONAL = ("samples.parquet", "training.jsonl")


@dataclass(frozen=True, eq=False)
class RunFiles:
    """The input of a report; ``samples`` and ``training`` are None if the run has none."""

    directory: Path
    metrics: dict[str, Any]
    manifest: dict[str, Any]
    config: str
    pseudo_outcomes: pd.DataFrame
    samples: pd.DataFrame | None
    training: pd.DataFrame | None


def load_run(directory: Path) -> RunFiles:
    """Read metrics.json, manifest.json, config.yaml, pseudo_outcomes.parquet and, if present, samples and training log.

    Raises
    ------
    DataError
        One line that names the file, and the key or column that is missing or malformed.
    """
    reason = impossible(directory)
    if reason is not None:
        raise DataError(f"{shown_path(directory)}: {reason}; name the directory of a run")
    if not directory.is_dir():
        raise DataError(f"{directory}: there is no such run directory; give a directory written by `causalopt run`")
    for name in (
        "manifest.json",
        "config.yaml",
        "metrics.json",
        "pseudo_outcomes.parquet",
        "samples.parquet",
        "training.jsonl",
    ):
        check_artefact(directory / name)
    metrics = _json_object(directory / "metrics.json")
    _check_metrics(metrics, directory / "metrics.json")
    samples, training = (directory / name for name in OPTIONAL)
    return RunFiles(
        directory=directory,
        metrics=metrics,
        manifest=_json_object(directory / "manifest.json"),
        config=_text(directory / "config.yaml"),
        pseudo_outcomes=_table(directory / "pseudo_outcomes.parquet", ["s", "g", "xi"]),
        samples=_table(samples, ["policy", "text", "g"]) if samples.exists() else None,
        training=_training(training) if training.exists() else None,
    )


def _check_metrics(metrics: dict[str, Any], path: Path) -> None:
    for key in ("outcome", "direction", "value"):
        if key not in metrics:
            raise DataError(f"{path}: has no {key!r}; run `causalopt run` again to write the complete file")
    if metrics["direction"] not in ("maximize", "minimize"):
        raise DataError(f"{path}: 'direction' is {metrics['direction']!r}; it must be 'maximize' or 'minimize'")
    for quantity in ("reference", "policy", "difference"):
        part = metrics["value"].get(quantity) if isinstance(metrics["value"], dict) else None
        for key in ("estimate", "ci_low", "ci_high"):
            if not isinstance(part, dict) or not isinstance(part.get(key), int | float):
                raise DataError(f"{path}: 'value.{quantity}.{key}' is not a number; run `causalopt run` again")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: is missing, so this is not a finished run; `causalopt run` writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold a JSON object")
    return content


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise DataError(f"{path}: is missing, so this is not a finished run; `causalopt run` writes it") from None
    except Exception as error:  # a parser of damaged bytes has no list of its errors
        raise DataError(f"{path}: cannot be read as Parquet: {one_line(error)}") from None
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}")
    return frame


def _training(path: Path) -> pd.DataFrame | None:
    records = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}: line {number} is not valid JSON: {one_line(error)}") from None
            if not isinstance(records[-1], dict):
                raise DataError(f"{path}: line {number} must be a JSON object such as {{'step': 1, 'loss': 0.5}}")
    if not records:
        return None
    frame = pd.DataFrame(records)
    frame = frame.assign(policy=frame["policy"].astype(str) if "policy" in frame else "")
    frame = frame.assign(stage=frame["stage"].fillna("").astype(str) if "stage" in frame else "")
    counted = frame.groupby(["policy", "stage"]).cumcount() + 1
    frame = frame.assign(step=frame["step"].fillna(counted) if "step" in frame else counted)
    # A resumed run repeats the steps after its last checkpoint.
    return frame.drop_duplicates(["policy", "stage", "step"], keep="last")
