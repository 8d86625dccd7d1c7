"""The code of a page of the documentation, in the order in which a reader meets it."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from places import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and text of each block."""
    return BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


def results(page: str) -> list[tuple[str, str]]:
    """Run the blocks of Python in one namespace; return what each one prints and what the page shows below it.

    What is shown is the next block, if it is one of text, and nothing otherwise.
    """
    names: dict[str, Any] = {"__name__": page}
    found = []
    known = blocks(page)
    for (language, code), (following, shown) in zip(known, [*known[1:], ("", "")], strict=True):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(code, f"{page}, block {len(found) + 1}", "exec"), names)
            found.append((out.getvalue(), shown if following == "text" else ""))
    return found
