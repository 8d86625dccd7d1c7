from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

import benchmarks.speed.__main__ as command
from benchmarks.output import Bar
from benchmarks.speed.__main__ import GPU_PLANS, Plan, _systems, run
from benchmarks.speed.clock import Segment
from benchmarks.speed.summary import bars, markdown, ratios
from benchmarks.speed.systems import SYSTEMS
from benchmarks.speed.worker import Worker
from benchmarks.speed.workload import SHAPES, Workload, make_reference, make_workload

TINY = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the command has it; more would only wait for each other on so small a model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Workload:
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    return make_workload(make_reference("tiny", 256), rows_per_step=4, steps=3)


def test_tokens_are_counted_without_padding_and_without_the_first_step(work: Workload) -> None:
    """Each word is a token; start and end are one each."""
    problem = work.problem
    logged = [len(f"{p} {x}".split()) + 2 for p, x in zip(problem.prompts, problem.texts, strict=True)]
    drawn = [len(f"{p} {x[0]}".split()) + 2 for p, x in zip(problem.prompts, problem.sampled_texts, strict=True)]
    assert work.count(sampled=False) == (sum(logged[4:]), 8)
    assert work.count(sampled=True) == (sum(logged[4:]) + sum(drawn[4:]), 16)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_trains_the_tokens_it_is_credited_with(work: Workload, name: str) -> None:
    segment = SYSTEMS[name](work)
    assert (segment.tokens, segment.sequences) == work.count(sampled=not name.startswith("causalopt cpo"))
    assert segment.seconds > 0


def test_trl_is_credited_with_the_logged_tokens(work: Workload) -> None:
    """In their order these are those of `Workload.count`; grouped by length, another step is the first."""
    pytest.importorskip("trl")
    from benchmarks.speed import kto

    tokens, sequences = work.count(sampled=False)
    in_order = kto.SYSTEMS["TRL KTO default, float32"](work)
    assert (in_order.tokens, in_order.sequences) == (tokens, sequences)
    grouped = kto.SYSTEMS["TRL KTO strongest, float32"](work)
    assert grouped.sequences == sequences
    assert 0 < grouped.tokens <= tokens + max(map(_tokens, work.batches(sampled=False)))
    assert grouped.precompute_seconds > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the systems share a process")
def test_each_system_keeps_a_process_of_its_own(work: Workload) -> None:
    def own_process(work: Workload) -> Segment:
        return Segment(1.0, 1.0, os.getpid(), work.rows_per_step)

    def fails(work: Workload) -> Segment:
        raise ZeroDivisionError

    with Worker(own_process, {"a": work, "b": work}) as one, Worker(own_process, {"a": work}) as other:
        first, _ = one.run("a")
        assert first.tokens == one.run("b")[0].tokens
        assert len({os.getpid(), first.tokens, other.run("a")[0].tokens}) == 3
    with pytest.raises(ProcessLookupError):
        os.kill(first.tokens, 0)
    with Worker(fails, {"a": work}) as worker, pytest.raises(RuntimeError, match="without a result"):
        worker.run("a")


@pytest.mark.skipif(
    os.environ.get("ATEN_CPU_CAPABILITY") == "default" and torch.cpu._is_avx512_bf16_supported(),
    reason="PyTorch's own bf16 attention, in the peers, calls AVX-512 kernels that this setting takes from it",
)
def test_a_run_leaves_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    few = ("causalopt cpo, float32", "causalopt dr_cpo", "supervised step", "plain loop")
    peers = ("TRL KTO default, bfloat16", "TRL KTO default, float32", "TRL KTO strongest, float32")
    systems = _systems()
    chosen = {name: systems[name] for name in (*few, *peers) if name in systems}
    monkeypatch.setattr(command, "_systems", lambda: chosen)
    found = run(tmp_path, {"tiny": Plan(4, 2, 2)}, [(16, 2), (32, 2)])
    assert len(found) >= 4
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [bar["name"] for bar in summary["bars"]] == [bar.name for bar in found]
    assert pd.read_parquet(tmp_path / "results.parquet").groupby("system")["round"].nunique().eq(2).all()
    assert (pd.read_parquet(tmp_path / "scaling.parquet")["peak_mebibytes"] > 0).all()
    text = (tmp_path / "RESULTS.md").read_text()
    for bar in found:
        assert f"| {bar.name.replace(': ', ' | ')} | {bar.value:.2f} (" in text
        assert f") | {bar.threshold} |" in text
    gpu_rows = [line for line in text.splitlines() if "no GPU on this machine |" in line]
    assert [line.split()[1] for line in gpu_rows] == ([] if torch.cuda.is_available() else list(GPU_PLANS))
    assert (tmp_path / "plots.html").stat().st_size > 1_000_000


def test_a_ratio_is_formed_within_a_round_and_has_its_bar() -> None:
    """The machine is twice as slow in the second round, and three times in the third; ratios are 4, 3 and 2."""
    rows, dtype = [], "float32"
    for turn, (slow, ratio) in enumerate([(1, 4.0), (2, 3.0), (3, 2.0)]):
        for system, speed in (
            (f"causalopt cpo, {dtype}", 100 * ratio / slow),
            (f"TRL KTO default, {dtype}", 100 / slow),
        ):
            rows.append({"model": "m", "texts": "natural", "system": system, "round": turn, "tokens_per_second": speed})
    found = ratios(pd.DataFrame(rows).assign(logged_tokens_per_second=1.0, seconds_per_sequence=1.0))
    row = found.set_index("comparison").loc["speed over TRL KTO default, both float32"]
    assert (row["median"], row["min"], row["max"]) == pytest.approx((3.0, 2.0, 4.0))
    assert bars(found) == [Bar.at_least(3.0, "m: speed over TRL KTO default, both float32", row["median"])]
    slower = found.assign(median=2.9)
    assert not bars(slower)[0].holds
    columns = {"precompute_per_sequence": 0.0, "peak_bytes": math.nan, "mfu": math.nan}
    frame = pd.DataFrame(rows).assign(logged_tokens_per_second=1.0, seconds_per_sequence=1.0, **columns)
    assert "| m | speed over TRL KTO default, both float32 | 3.00 (2.00 to 4.00) | at least 3 |" in markdown(
        frame, found, []
    )


def _tokens(batch: list[object]) -> int:
    return sum(len(tokens.ids) for tokens in batch)  # type: ignore[attr-defined]
