"""How objects show themselves: some lines in a console, a table in a notebook."""

from __future__ import annotations

import html
from abc import abstractmethod

LONGEST = 90
"""Characters of a value that are shown."""


class Summarised:
    """An object that shows a title and some labelled values in place of its fields."""

    @abstractmethod
    def summary_rows(self) -> list[tuple[str, str]]:
        """Return labels and values, in words."""

    def __repr__(self) -> str:
        rows = self.summary_rows()
        width = max((len(label) for label, _ in rows), default=0)
        return "\n".join([type(self).__name__, *(f"  {label:<{width}}  {_short(value)}" for label, value in rows)])

    def _repr_html_(self) -> str:
        """Return the summary as a table, which notebooks show; texts in it are escaped."""
        body = "".join(
            f'<tr><th scope="row" style="text-align: left">{html.escape(label)}</th>'
            f'<td style="text-align: left">{html.escape(_short(value))}</td></tr>'
            for label, value in self.summary_rows()
        )
        return f"<table><caption>{type(self).__name__}</caption><tbody>{body}</tbody></table>"


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
