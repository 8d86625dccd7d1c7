"""``python -m benchmarks.memory.rows --out DIR``: peak memory and time of `causalopt estimate` and `run` by rows."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.output import Bar, bars_as_text, write

TEXTS = 20_000
COMMANDS = ("estimate", "run")
NUISANCES: dict[str, Any] = {
    "embedder": {"name": "tfidf-svd", "dimensions": 64},
    "outcome_model": {"name": "ridge"},
    "assignment_model": {"name": "gaussian"},
}
_MEASURED = """
import json, resource, sys, time
from causalopt.cli.main import app
start = time.perf_counter()
app(sys.argv[1:], standalone_mode=False)
own = resource.getrusage(resource.RUSAGE_SELF)
found = {"peak": own.ru_maxrss * 1024, "seconds": time.perf_counter() - start, "cpu": own.ru_utime + own.ru_stime}
print(json.dumps(found), file=sys.stderr)
"""


def table(rows: int, texts: int = TEXTS, seed: int = 0) -> pd.DataFrame:
    """Readings of ``texts`` sentences of eight words, by readers with three covariates, and a policy that is evaluated.

    The policy draws a sentence in proportion to exp(effect); its log-probabilities and a draw for every row are given.
    """
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 400, (texts, 8))
    sentences = np.array([" ".join(f"word{k}" for k in row) + f" {i}" for i, row in enumerate(words)], dtype=object)
    effect = rng.normal(size=400)[words].mean(axis=1)
    read = rng.integers(0, texts, rows)
    frame = pd.DataFrame(
        {
            "text": sentences[read],
            "age": rng.normal(40, 12, rows),
            "engaged": rng.normal(size=rows),
            "party": rng.choice(["left", "right", "none", "other"], rows),
        }
    )
    reader = 0.03 * frame["age"] + 0.5 * frame["engaged"] + (frame["party"] == "left")
    share = np.exp(effect) / np.exp(effect).sum()
    return frame.assign(
        resp=effect[read] + reader + rng.normal(size=rows),
        log_q=-np.log(texts),
        log_p=np.log(share)[read],
        drawn=sentences[rng.choice(texts, rows, p=share)],
    )


def configuration(command: str, path: Path) -> dict[str, Any]:
    """Settings of a command on a table."""
    data = {"path": str(path), "text": "text", "outcome": "resp", "covariates": ["age", "engaged", "party"]}
    if command == "run":
        return {"data": data, "backend": {"name": "finite"}, **NUISANCES}
    data |= {"behavior_log_prob": "log_q", "policy_log_prob": "log_p", "policy_text": "drawn"}
    return {"data": data, **NUISANCES}


def measure(command: str, rows: int, texts: int = TEXTS) -> dict[str, float]:
    """Peak resident memory (bytes), seconds and CPU seconds of a command, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder) / "table.parquet", Path(folder) / "config.yaml"
        table(rows, texts).to_parquet(path, index=False)
        config.write_text(json.dumps(configuration(command, path)), encoding="utf-8")
        call = [sys.executable, "-c", _MEASURED, command, str(config)]
        out = ["--out", str(Path(folder) / ("result.json" if command == "estimate" else "result"))]
        done = subprocess.run([*call, *out], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stderr.strip().splitlines()[-1])
    return found


def bars(results: pd.DataFrame) -> list[Bar]:
    """Growth from the smallest to the largest table of each command, and the largest table's peak."""
    found = []
    for command, own in results.sort_values("rows").groupby("command", sort=False):
        first, last = own.iloc[0], own.iloc[-1]
        slope = (last["peak"] - first["peak"]) / (last["rows"] - first["rows"])
        found.append(Bar.at_most(1536, f"{command}: bytes a row from {first['rows']} to {last['rows']} rows", slope))
        found.append(Bar.at_most(4.0, f"{command}: peak memory of {last['rows']} rows, GB", last["peak"] / 1e9))
        longer = (last["cpu"] / first["cpu"]) / (last["rows"] / first["rows"])
        found.append(Bar.at_most(1.2, f"{command}: CPU time a row, {last['rows']} over {first['rows']} rows", longer))
    return found


def run(out: Path, rows: Sequence[int], commands: Sequence[str] = COMMANDS) -> list[Bar]:
    start = time.perf_counter()
    cells = [(command, n) for command in commands for n in rows]
    results = pd.DataFrame([{"command": command, "rows": n, **measure(command, n)} for command, n in cells])
    found = bars(results)
    write(out, "memory.rows", results, found, {"texts": TEXTS, **NUISANCES}, time.perf_counter() - start)
    shown = results.assign(peak=(results["peak"] / 1e9).round(2)).round({"seconds": 0, "cpu": 0})
    (out / "table.txt").write_text(shown.rename(columns={"peak": "peak GB"}).to_string(index=False) + "\n", "utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.rows", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 1_000_000], help="rows of the tables")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS, help="which commands")
    parser.add_argument("--out", type=Path, required=True, help="where results, summary and table go")
    arguments = parser.parse_args()
    print(bars_as_text(run(arguments.out, arguments.rows, arguments.commands)))


if __name__ == "__main__":
    main()
