from __future__ import annotations

import io

from rich.console import Console

from causalopt.progress import show_progress, track


def test_a_bar_is_drawn_where_there_is_work_and_nowhere_else() -> None:
    shown = io.StringIO()
    with show_progress(Console(file=shown, force_terminal=True, width=100)):
        assert list(track(range(3), "counting", 3, note=lambda: "loss 0.25")) == [0, 1, 2]
        assert list(track([], "nothing", 0)) == []
    assert list(track([1], "unseen")) == [1]
    assert "counting" in shown.getvalue()
    assert "3/3" in shown.getvalue()
    assert "loss 0.25" in shown.getvalue()
    assert "nothing" not in shown.getvalue()
    assert "unseen" not in shown.getvalue()


def test_nothing_is_printed_where_there_was_no_bar() -> None:
    shown = io.StringIO()
    with show_progress(Console(file=shown, force_terminal=False)):
        assert list(track([], "nothing", 0)) == []
    assert shown.getvalue() == ""
