"""The notebooks of the documentation run, and their committed outputs are those of a run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from notebooks import differences, executed, printed
from places import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def test_all_are_in_the_navigation_of_the_documentation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) >= 3
    assert [path.name for path in NOTEBOOKS if f"notebooks/{path.name}" not in navigation] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_prints_what_is_committed(path: Path, tmp_path: Path) -> None:
    committed = nbformat.read(path, as_version=4)
    again = executed(committed, tmp_path)
    shown, found = printed(committed), printed(again)
    wrong = {i: differences(a, b) for i, (a, b) in enumerate(zip(shown, found, strict=True)) if differences(a, b)}
    assert not wrong, f"{path.name} prints something else by now (make notebooks): {wrong}"
    assert sum(map(bool, shown)) >= 8
    assert any("plotly" in one.get("data", {}).get("text/html", "") for cell in again.cells for one in outputs(cell))


def outputs(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return list(cell.get("outputs", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_names_no_place_and_no_error(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert "site-packages" not in "".join(printed(notebook))
    assert "/home" not in "".join(printed(notebook))


def test_a_cell_that_raises_is_an_error(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        executed(notebook, tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("gain 0.123 (0.100 to 0.200)", "gain  0.124 (0.100 to\n0.200)", True),
        ("gain 0.123", "gain 0.125", False),
        ("1,138 rows count as 42", "1,138 rows count as 43", True),
        ("1,138 rows count as 42", "1,140 rows count as 42", False),
        ("4.7e-05", "4.8e-05", True),
        ("4.7e-05", "4.7e-04", False),
        ("gain 1.0", "loss 1.0", False),
        ("gain 1.0", "gain", False),
        ("-0.30", "0.30", False),
    ],
)
def test_numbers_may_differ_in_their_last_digit_and_words_not(first: str, second: str, same: bool) -> None:
    assert (not differences(first, second)) is same
