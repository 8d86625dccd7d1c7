"""Run notebooks in a kernel, and compare what they print: for the tests, and for `make notebooks`."""

from __future__ import annotations

import copy
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

SECONDS = 300
"""Limit of a cell."""
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?")
IDENTIFIER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return the notebook as a new kernel leaves it; a cell that raises is a `CellExecutionError`.

    Figures are drawn by plotly's script from its network of delivery, so that a notebook does not hold the library, and
    have identifiers that are the same in every run.
    """
    os.environ["PLOTLY_RENDERER"] = "notebook_connected"
    again = copy.deepcopy(notebook)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(again, timeout=SECONDS, kernel_name="python3", record_timing=False, resources=place).execute()
    found: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        return found.setdefault(match.group(), f"figure-{len(found) + 1}")

    for output in (one for cell in again.cells for one in cell.get("outputs", [])):
        if "text/html" in output.get("data", {}):
            output["data"]["text/html"] = IDENTIFIER.sub(plain, output["data"]["text/html"])
    again.metadata.pop("widgets", None)
    again.metadata["language_info"] = {"name": "python"}
    return again


def printed(notebook: NotebookNode) -> list[str]:
    """Return what each cell of code leaves: streams and representations in plain text."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [one.get("text", one.get("data", {}).get("text/plain", "")) for one in cell.outputs]
            shown.append("\n".join(texts))
    return shown


def differences(first: str, second: str) -> list[str]:
    """Return where two outputs differ: in words, or in a number by more than one unit of its last digit shown.

    Another processor may round the last digit the other way.
    """
    words, others = (" ".join(NUMBER.sub("#", text).split()) for text in (first, second))
    if words != others:
        return [f"{words!r} is not {others!r}"]
    pairs = zip(NUMBER.findall(first), NUMBER.findall(second), strict=True)
    return [f"{a} is not {b}" for a, b in pairs if abs(_value(a) - _value(b)) > 1.001 * max(_unit(a), _unit(b))]


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _unit(number: str) -> float:
    """Return the worth of the last digit: 0.001 for "0.123", 1 for "12"."""
    digits, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        nbformat.write(executed(nbformat.read(path, as_version=4), path.parent), path)
        print(path)
