from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from causalopt.progress import expect_stages, hidden_progress, show_progress, stage, stage_done_before, track


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


def test_a_stage_leaves_one_line_with_its_number_its_name_and_the_last_metrics() -> None:
    shown = io.StringIO()
    with show_progress(Console(file=shown, force_terminal=False, width=60)):
        expect_stages(["reference", "optimisation", "evaluation of [bold]"])
        with stage("reference"):
            list(track(range(3), "drawing texts", 3))
        stage_done_before("optimisation")
        with stage("evaluation of [bold]"):
            list(track(range(3), "training", 3, note=lambda: "loss 0.25"))
    assert shown.getvalue().splitlines() == [
        "1 of 3 · reference · 0 s",
        "2 of 3 · optimisation · reused",
        "3 of 3 · evaluation of [bold] · 0 s · loss 0.25",
    ]


def test_on_a_terminal_the_line_names_the_innermost_loop_and_counts_the_outermost() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=140, color_system=None)
    with show_progress(console):
        expect_stages(["how far to go"])
        with stage("how far to go"):
            for _ in track(range(4), "points", 4):
                for _ in track(range(2), "scoring texts", 2):
                    time.sleep(0.15)  # the line is drawn ten times a second
    written = shown.getvalue()
    assert "1 of 1 · how far to go · points · scoring texts" in written
    assert "2/4" in written
    assert "2/2" not in written
    assert "left" in written
    assert "\x1b[2K1 of 1 · how far to go · 1 s\n" in written
    assert written.endswith("1 s\n\r\x1b[2K\x1b[?25h")  # nothing is left below


def test_a_stage_that_fails_leaves_no_line_and_hidden_work_none_either() -> None:
    shown = io.StringIO()
    with show_progress(Console(file=shown, force_terminal=False)):
        with pytest.raises(ValueError, match="broken"), stage("reference"):
            raise ValueError("broken")
        with hidden_progress(), stage("trial"):
            list(track(range(3), "drawing texts", 3))
    assert shown.getvalue() == ""


def test_a_loop_that_is_left_early_ends_its_line() -> None:
    shown = io.StringIO()
    with show_progress(Console(file=shown, force_terminal=True, width=100, color_system=None)), stage("how far to go"):
        for item in track(range(10), "points", 10):
            if item == 2:
                break
        list(track(range(2), "the rest", 2))
    assert "the rest" in shown.getvalue()
