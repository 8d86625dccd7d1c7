"""``python -m benchmarks.judge [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.judge.letters import CASES, KL
from benchmarks.judge.replication import CJE, DIMENSIONS, DRAWN_FOR_CJE, DRAWS, FIRST_SEED, KNOWN_DRAWS, replicate
from benchmarks.judge.summary import bars, refused, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all


def run(out: Path, *, replications: int = 300, jobs: Jobs = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json`` and ``table.md``, and return the bars."""
    start = time.perf_counter()
    work = [(case, FIRST_SEED + k) for case in CASES for k in range(replications)]
    results = replicate_all(replicate, work, jobs, out)
    found = bars(results)
    settings = {
        "replications": replications,
        "seeds": f"{FIRST_SEED} to {FIRST_SEED + replications - 1}",
        "processes": jobs,
        "draws": {"default path": DRAWS, "known ratios": KNOWN_DRAWS, CJE: DRAWN_FOR_CJE},
        "embedding": DIMENSIONS,
        "kl": KL,
        "cases": {name: asdict(case) for name, case in CASES.items()},
        "refused": refused(results).to_dict(),
        CJE: version(CJE) if find_spec("cje") is not None else None,
    }
    write(out, "judge", results, found, settings, time.perf_counter() - start)
    write_table(results, out / "table.md")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("judge", __doc__, "30 replications: noisy coverage", argv)
    print(bars_as_text(run(arguments.out, replications=30 if arguments.quick else 300, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
