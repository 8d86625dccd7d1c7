"""``python -m benchmarks.memory [--quick] --out DIR``: peak memory of a scoring step, in a process of its own each."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from benchmarks.output import Bar, bars_as_text, write
from causalopt.language_models.kernels.head import target_log_prob

WIDTH = 64
KINDS = ("frozen head", "trainable head", "materialised")


def step(kind: str, vocabulary: int, tokens: int) -> None:
    """Log-probabilities of targets, and the gradient of a weighted sum of them in the hidden states."""
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, vocabulary, bias=False).requires_grad_(kind == "trainable head")
    hidden = torch.randn(tokens, WIDTH, requires_grad=True)
    target = torch.randint(vocabulary, (tokens,))
    if kind == "materialised":
        log_prob = head(hidden).float().log_softmax(-1).gather(1, target[:, None]).squeeze(1)
    else:
        log_prob = target_log_prob(head, hidden, target)
    (torch.randn(tokens) * log_prob).sum().backward()


def measure(kind: str, vocabulary: int, tokens: int) -> float:
    """MiB that a step takes on top of what the process holds before it (the largest resident set).

    glibc's allocator keeps freed blocks below a threshold that rises with use, so that the resident set would also
    count holes between them: 70 to 130 MiB of a trainable head's step, and not the same twice. It is told to give them
    back.
    """
    call = [sys.executable, "-m", "benchmarks.memory", "--cell", kind, str(vocabulary), str(tokens)]
    returned = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    return float(subprocess.run(call, check=True, capture_output=True, text=True, env=returned).stdout)


def cell(kind: str, vocabulary: int, tokens: int) -> float:
    step(kind, vocabulary, 1)  # what torch itself allocates, and the head
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(kind, vocabulary, tokens)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def bars(results: pd.DataFrame) -> list[Bar]:
    peak = results.set_index(["kind", "vocabulary", "tokens"])["mib"]
    found = []
    for vocabulary in results["vocabulary"].unique():
        most, least = results["tokens"].max(), results["tokens"].min()
        for kind in KINDS[:2]:
            share = peak[kind, vocabulary, most] / peak["materialised", vocabulary, most]
            found.append(
                Bar.at_most(0.5, f"{kind}, vocabulary {vocabulary}, {most} tokens: share of materialised", share)
            )
            logits = (most - least) * vocabulary * 4 / 2**20
            growth = (peak[kind, vocabulary, most] - peak[kind, vocabulary, least]) / logits
            name = f"{kind}, vocabulary {vocabulary}: growth with tokens, in tensors of [tokens, vocabulary]"
            found.append(Bar.at_most(0.1, name, growth))
    return found


def run(out: Path, *, vocabularies: Sequence[int], tokens: Sequence[int]) -> list[Bar]:
    start = time.perf_counter()
    cells = [(kind, vocabulary, t) for kind in KINDS for vocabulary in vocabularies for t in tokens]
    results = pd.DataFrame([{"kind": k, "vocabulary": v, "tokens": t, "mib": measure(k, v, t)} for k, v, t in cells])
    found = bars(results)
    write(out, "memory", results, found, {"width": WIDTH}, time.perf_counter() - start)
    table = results.pivot_table(index=["vocabulary", "tokens"], columns="kind", values="mib").round(0)
    (out / "table.txt").write_text(table.to_string() + "\n", encoding="utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="vocabulary 49,152 and 512 to 2,048 tokens alone")
    parser.add_argument("--out", type=Path, help="where results, summary and table go")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        kind, vocabulary, tokens = arguments.cell
        print(cell(kind, int(vocabulary), int(tokens)))
        return
    if arguments.out is None:
        parser.error("--out is missing")
    size = ((49_152,), (512, 2048)) if arguments.quick else ((49_152, 131_072), (1024, 4096))
    print(bars_as_text(run(arguments.out, vocabularies=size[0], tokens=size[1])))


if __name__ == "__main__":
    main()
