from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from causalopt.errors import DataError
from causalopt.report import write_markdown


def tables(lines: list[str]) -> list[list[list[str]]]:
    """Cells of each table."""
    found: list[list[list[str]]] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def test_the_three_answers_the_tables_and_the_citations(full_run: Path) -> None:
    path = write_markdown(full_run)
    assert path == full_run / "report.md"
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.M)
    assert headings == [
        "1. What would happen if everybody read texts from this model?",
        "2. Can the data answer that?",
        "3. Give me the better model",
        "How to cite",
    ]
    assert text.startswith("# full: The optimised model is better than the reference model.\n\n> Overlap is thin.")
    for shown in (
        "| Difference | +0.50 | +0.25 to +0.75 | 0.128 | sndr |",
        "| sndr | 3.10 (2.85 to 3.35) | 3.60 (3.35 to 3.85) | +0.50 (+0.25 to +0.75) |",
        "| Effective sample size | 311 of 560 texts |",
        "| bravery | +0.20 (+0.10 to +0.30) | −0.40 (−0.50 to −0.30) |",
        "| 0.500 | 0.400 | +0.42 (+0.20 to +0.64) | 151 | chosen |",
        "* Unclear: offence stays at least 0.1.",
        "arXiv:2402.14979",
        "@software{causalopt,",
        "version = {0.1.0}",
    ):
        assert shown in text, shown
    for table in tables(text.splitlines()):
        assert len({len(row) for row in table}) == 1, table[0]


def test_what_the_data_hold_makes_no_markup(full_run: Path) -> None:
    (full_run / "manifest.json").write_text(json.dumps({"versions": {"causalopt": "1}```<b>"}, "seed": 0}))
    text = write_markdown(full_run).read_text(encoding="utf-8")
    outside = re.sub(r"\\.", "", text.split("```")[0])
    assert "<" not in outside
    assert "`policy`" in outside
    assert text.count("```") == 2
    assert "window.hacked" in text


def test_a_run_with_the_least_gives_the_three_answers(small_run: Path) -> None:
    text = write_markdown(small_run).read_text(encoding="utf-8")
    assert "This run recorded no verdict" in text
    assert "Overlap was not measured in this run." in text
    assert not {"nan", "None", "Undefined"} & set(re.findall(r"\w+", text))


def test_a_missing_file_is_one_clear_line(small_run: Path) -> None:
    (small_run / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"^\S*metrics.json: is missing.*$"):
        write_markdown(small_run)
    assert not (small_run / "report.md").exists()
