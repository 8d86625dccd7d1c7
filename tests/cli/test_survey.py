"""`causalopt survey` as a person meets it: the numbers of tables whose answers are known, and one line for bad ones."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalopt.cli.main import main
from causalopt.evaluation import Estimate
from causalopt.evaluation.preferences import correlations, interval, majority, win_rate, win_rates


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["causalopt", "survey", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "160")
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def preferences(items: int = 12, raters: int = 4, seed: int = 0) -> pd.DataFrame:
    """Everybody compares "new" with "old" on every item, in random positions; new is better in 70% of the answers."""
    rng = np.random.default_rng(seed)
    rows = []
    for item, rater in itertools.product(range(items), range(raters)):
        first = rng.random() < 0.5
        better = rng.random()
        answer = "tie" if better > 0.9 else ("A" if (better < 0.7) == first else "B")
        systems = ("new", "old") if first else ("old", "new")
        rows.append((f"q{item}", f"r{rater}", *systems, answer, float(np.round(better, 3))))
    return pd.DataFrame(rows, columns=["item", "rater", "a", "b", "answer", "score"])


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def test_win_rates_do_not_depend_on_the_side(tmp_path, call) -> None:
    frame = preferences()
    out = tmp_path / "numbers.json"
    code, printed, err = call(
        write(frame, tmp_path / "s.csv"), "--system-a", "a", "--system-b", "b", "--judge", "score", "--out", out
    )
    assert (code, err) == (0, "")
    won = [0.5 if row.answer == "tie" else float((row.answer == "A") == (row.a == "new")) for row in frame.itertuples()]
    found = json.loads(out.read_text())
    (row,) = found["win_rates"]
    assert (row["system"], row["over"], row["answers"], row["items"], row["raters"]) == ("new", "old", 48, 12, 4)
    assert row["win_rate"] == pytest.approx(np.mean(won), abs=1e-12)
    assert f"{np.mean(won):.3f}" in printed
    # Cameron, Gelbach and Miller (2011), by hand: the two ways, and no less than either.
    values = np.array(won) - np.mean(won)

    def variance(codes) -> float:
        sums = pd.Series(values).groupby(list(codes)).sum().to_numpy()
        groups = len(sums)
        change = sums / (len(values) - len(values) / groups)
        return float((groups - 1) / groups * np.sum(change**2))

    one, other = variance(frame["item"]), variance(frame["rater"])
    both = variance(range(48))
    expected = np.sqrt(max(one + other - both, one, other))
    assert win_rate(won, frame["item"], frame["rater"]).se == pytest.approx(expected, rel=1e-9)
    shown = {"q" + str(k) for k in range(12)}
    assert {row["item"] for row in found["majority"]} == shown
    human = 1 - frame.assign(w=won).groupby("item", sort=False)["w"].mean()  # towards new, as "new" < "old"
    judged = frame.groupby("item", sort=False)["score"].mean()
    pearson = next(one for one in found["judge"] if one["name"] == "Pearson's r")
    assert pearson["value"] == pytest.approx(-np.corrcoef(human, judged)[0, 1], abs=1e-9)
    # Written again over its own output, and over nothing else.
    assert call(tmp_path / "s.csv", "--system-a", "a", "--system-b", "b", "--out", out)[0] == 0
    assert call(tmp_path / "s.csv", "--out", tmp_path / "s.csv")[0] == 2


def test_a_column_for_each_rater_gives_the_same(tmp_path, call) -> None:
    rng = np.random.default_rng(1)
    wide = pd.DataFrame({name: rng.integers(1, 6, 10) for name in ("ann", "bob", "cy")})
    long = wide.melt(ignore_index=False, var_name="rater", value_name="answer").reset_index(names="item")
    long["item"] += 1
    numbers = []
    for frame, options in ((wide, ("--raters", "ann", "--raters", "bob", "--raters", "cy")), (long, ())):
        out = tmp_path / f"{len(numbers)}.json"
        code, _, err = call(write(frame, tmp_path / f"{len(numbers)}.csv"), *options, "--out", out)
        assert (code, err) == (0, "")
        numbers.append(json.loads(out.read_text()))
    first, second = numbers
    assert first["answers"] == second["answers"] == 30
    for one, other in zip(first["agreement"], second["agreement"], strict=True):
        assert one["measure"] == other["measure"]
        assert one["value"] == pytest.approx(other["value"], abs=1e-12)
    assert first["win_rates"] is None


def frame_of(answers, raters=None) -> pd.DataFrame:
    n = len(answers)
    return pd.DataFrame(
        {"item": [k // 2 for k in range(n)], "rater": raters or ["ann", "bob"] * (n // 2), "answer": answers}
    )


BAD = {
    "one rater": (frame_of(["A", "B"], ["ann", "ann"]).assign(item=[1, 2]), (), "has one rater, 'ann'"),
    "ties only": (frame_of(["tie"] * 6), (), "all 6 answers are ties"),
    "no answers": (frame_of([None] * 6), (), "holds no answer in any of its 6 rows"),
    "empty answers": (frame_of([" "] * 6), (), "holds no answer in any of its 6 rows"),
    "an unknown column": (
        frame_of(["A", "B"] * 2),
        ("--answer", "answr"),
        "no column 'answr' (did you mean 'answer'?)",
    ),
    "an unknown rater": (frame_of(["A", "B"] * 2), ("--raters", "zed"), "no column 'zed'"),
    "no rows": (frame_of(["A", "B"]).iloc[:0], (), "has no rows"),
    "an answer twice": (frame_of(["A", "B"], ["ann", "ann"]).assign(item=[1, 1]), (), "answered item '1' twice"),
    "one system": (frame_of(["A", "B"] * 2), ("--system-a", "item"), "name both systems"),
    "no preference": (
        frame_of(["A", "Q"] * 2).assign(a="x", b="y"),
        ("--system-a", "a", "--system-b", "b"),
        "'Q' is no preference",
    ),
    "a system with itself": (
        frame_of(["A", "B"] * 2).assign(a="x", b="x"),
        ("--system-a", "a", "--system-b", "b"),
        "row 1 compares a system with itself",
    ),
    "a scale": (frame_of(["A", "B"] * 2), ("--scale", "cardinal"), "scale must be one of nominal, ordinal, interval"),
    "words on a scale": (frame_of(["good", "bad"] * 2), ("--scale", "interval"), "is not a number"),
    "a level": (frame_of(["A", "B"] * 2), ("--level", "95"), "level must be a number above 0 and below 1"),
    "few items for a judge": (
        frame_of([1, 2, 3, 4]).assign(j=[1, 1, 2, 2]),
        ("--judge", "j"),
        "a correlation needs at least four",
    ),
    "words of a judge": (
        frame_of([1, 2, 3, 4]).assign(j=["x", "x", "y", "y"]),
        ("--judge", "j"),
        "column 'j'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, call) -> None:
    frame, options, said = BAD[case]
    code, _, err = call(write(frame, tmp_path / "bad.csv"), *options)
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1
    assert said in re.sub(r"\s+", " ", err)


def test_a_file_that_is_not_there(tmp_path, call) -> None:
    code, _, err = call(tmp_path / "nothing.csv")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "there is no such file" in err


def test_all_wins_leave_an_interval_of_some_width() -> None:
    found = win_rate(np.ones(12), np.repeat(range(6), 2), ["ann", "bob"] * 6)
    assert found.se == 0
    low, high = interval(found)
    # Clopper and Pearson with 2 raters: 0.025 ** (1 / 2).
    assert (low, high) == (pytest.approx(0.025**0.5), 1.0)


def test_three_systems_and_majorities() -> None:
    frame = pd.DataFrame(
        {"item": [1, 1, 2, 2], "rater": ["x", "y"] * 2, "a": ["p", "q", "p", "r"], "b": ["q", "p", "r", "p"],
         "worth": [1.0, 0.0, 0.5, 1.0]}
    )  # fmt: skip
    found = win_rates(frame).set_index(["system", "over"])
    assert found.loc[("p", "q"), "win_rate"] == 1.0
    assert found.loc[("p", "r"), "win_rate"] == 0.25
    assert np.isnan(found.loc[("p", "q"), "ci_low"])
    votes = majority(pd.DataFrame({"x": ["A", "A"], "y": ["A", "B"], "z": ["B", None]}))
    assert votes["majority"].tolist() == ["A", None]
    assert votes["share"].tolist() == [pytest.approx(2 / 3), 0.5]


def test_intervals_of_correlations_are_those_of_fisher() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    found = {one.name: one for one in correlations(x, y)}
    r = np.corrcoef(x, y)[0, 1]
    half = 1.959964 / np.sqrt(37)
    assert found["Pearson's r"].ci_low == pytest.approx(np.tanh(np.arctanh(r) - half), abs=1e-6)
    rho = found["Spearman's rho"]
    assert rho.ci_low < rho.value < rho.ci_high


def test_win_rates_are_covered() -> None:
    """200 surveys of 30 items by 15 raters with effects of both: coverage of the 95% interval.

    At a true coverage of 0.95 fewer than 178 of 200 are covered with probability 2e-4.
    """
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 5])
        item, rater = np.repeat(np.arange(30), 15), np.tile(np.arange(15), 30)
        taste = 0.15 * rng.normal(size=30)[item] + 0.1 * rng.normal(size=15)[rater]
        won = (rng.random(450) < np.clip(0.6 + taste, 0, 1)).astype(float)
        found: Estimate = win_rate(won, item, rater)
        low, high = interval(found)
        hits += low <= 0.6 <= high
    assert hits >= 178


def test_the_example_of_the_documentation(tmp_path, call) -> None:
    page = (Path(__file__).parents[2] / "docs" / "survey.md").read_text(encoding="utf-8")
    table = next(block for block in page.split("```") if block.startswith("\nitem,rater"))
    path = tmp_path / "answers.csv"
    path.write_text(table.lstrip(), encoding="utf-8")
    out = tmp_path / "numbers.json"
    code, printed, err = call(path, "--system-a", "left", "--system-b", "right", "--out", out)
    assert (code, err) == (0, "")
    assert "0.667" in printed
    found = json.loads(out.read_text())
    (row,) = found["win_rates"]
    assert (row["system"], row["over"], row["answers"]) == ("new", "old", 12)
    stated = re.search(r"prints a win rate of ([\d.]+) for `new`", page.replace("\n", " "))
    assert stated is not None
    assert f"{row['win_rate']:.3f}" == stated[1]
    votes = re.search(r"majorities of the four items are (.*?)\.", page.replace("\n", " "))
    assert votes is not None
    assert [one["majority"] for one in found["majority"]] == re.findall("`(.*?)`", votes[1])
