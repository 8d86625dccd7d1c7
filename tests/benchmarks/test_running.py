"""What benchmarks of replications share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.output import write
from benchmarks.running import read_jobs, replicate_all


def replicate(folder: str, seed: int) -> list[dict[str, Any]]:
    """Leave a mark for each call, and fail while the folder says so."""
    with (Path(folder) / "calls").open("a") as calls:
        calls.write(f"{seed}\n")
    if seed == 2 and (Path(folder) / "fail").exists():
        raise RuntimeError("killed")
    return [{"seed": seed}]


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    work = [(str(tmp_path), seed) for seed in range(3)]
    (tmp_path / "fail").touch()
    with pytest.raises(RuntimeError, match="killed"):
        replicate_all(replicate, work, 1, tmp_path / "out")
    (tmp_path / "fail").unlink()
    results = replicate_all(replicate, work, 1, tmp_path / "out")
    assert sorted(results["seed"]) == [0, 1, 2]
    assert (tmp_path / "calls").read_text().split() == ["0", "1", "2", "2"]
    assert (tmp_path / "out" / "unfinished").exists(), "kept until the results are written"
    write(tmp_path / "out", "some", results, [], {}, 1.0)
    assert not (tmp_path / "out" / "unfinished").exists()


def test_two_processes_or_a_named_executor_give_the_rows_in_the_order_of_the_work(tmp_path: Path) -> None:
    work = [(str(tmp_path), seed) for seed in (3, 1, 0)]
    for given in ("2", "local"):
        results = replicate_all(replicate, work, read_jobs(given), tmp_path / given)
        assert results["seed"].tolist() == [3, 1, 0]
