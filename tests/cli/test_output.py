"""What every verb has in common: an example, --json, --quiet, --verbose, exit codes, completion; and closing words."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer.main
import yaml

from causalopt.cli.examples import EXAMPLES, EXIT_CODES
from causalopt.cli.main import app, main
from causalopt.run.directory import stages_of

DOCS = Path(__file__).parents[2] / "docs"
VERBS = sorted(EXAMPLES)
PROGRAM = [sys.executable, "-c", "from causalopt.cli.main import main; main()"]
pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


def called(arguments, capsys, monkeypatch) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["causalopt", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "120")
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


@pytest.fixture
def call(capsys, monkeypatch):
    return lambda *arguments: called(arguments, capsys, monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Headlines with candidates of each prompt, and a finished run on them, whose output is kept beside it."""
    home, rng = tmp_path_factory.mktemp("output"), np.random.default_rng(0)
    words, rows = {"try": 0.0, "see": 0.4, "love": 1.2, "avoid": -1.2}, []
    for c in range(240):
        for verb in rng.choice(list(words), size=3, replace=False):
            thing = f"{rng.choice(list('abcdef'))}{rng.choice(list('uvwxyz'))}"
            rows.append(
                (f"test {c}", f"{verb} the {thing} {c}", rng.normal() + words[verb], rng.choice(["old", "new"]))
            )
    frame = pd.DataFrame(rows, columns=["prompt", "text", "clicks", "reader"])
    frame.to_csv(home / "log.csv", index=False)
    frame[["prompt", "text"]].head(6).to_csv(home / "candidates.csv", index=False)
    votes = [(f"item {i}", rater, rng.choice(["A", "B"])) for i in range(8) for rater in ("ann", "bob")]
    pd.DataFrame(votes, columns=["item", "rater", "answer"]).to_csv(home / "answers.csv", index=False)
    columns = {"prompt": "prompt", "text": "text", "outcome": "clicks", "covariates": ["reader"]}
    config = {
        "data": {"path": str(home / "log.csv"), **columns},
        "outcome_model": "ridge",
        "assignment_model": "randomized",
        "backend": "finite",
        "comparisons": {"plain": {"objective": "cpo"}},
        "evaluation": {"draws": 40, "estimators": ["sndr"]},
    }
    (home / "log.yaml").write_text(yaml.safe_dump(config))
    command = ["-c", "from causalopt.cli.main import main; main()", "run", "log.yaml", "--out", "run", "--json"]
    done = subprocess.run(
        [sys.executable, *command], cwd=home, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (home / "stdout").write_text(done.stdout)
    (home / "stderr").write_text(done.stderr)
    return home


def commands():
    return typer.main.get_command(app).commands


def test_every_verb_has_an_example_and_a_line_in_the_page_of_verbs():
    assert set(EXAMPLES) == set(commands())
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)[^`]*`", page, flags=re.MULTILINE))
    assert set(EXAMPLES) <= listed


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_shows_examples_and_they_parse(call, verb):
    code, out, _ = call(verb, "--help")
    assert code == 0
    shown = " ".join(out.split())
    for option in ("--quiet", "--verbose", "--json"):
        assert option in shown
    for example in EXAMPLES[verb]:
        assert f"Example: {example}" in shown
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("causalopt", verb)
        context = commands()[verb].make_context(verb, list(arguments))
        assert context.params
        assert verb == "benchmark" or not context.args  # a benchmark has options of its own


def test_exit_codes_are_in_the_help_and_on_the_page(call):
    code, out, _ = call("--help")
    assert code == 0
    page, shown = (DOCS / "cli.md").read_text(encoding="utf-8"), " ".join(out.split())
    for number, meaning in EXIT_CODES.items():
        assert f"{number} {meaning}" in shown
        assert f"| {number} |" in page


ARGUMENTS = {
    "run": ("log.yaml", "--out", "run", "--resume"),
    "check": ("log.yaml", "--no-timing"),
    "init": ("log.csv", "--out", "new.yaml"),
    "estimate": (
        "log.csv",
        "--policy",
        "logged",
        "--text",
        "text",
        "--outcome",
        "clicks",
        "--set",
        "data.prompt=prompt",
    ),
    "evaluate": ("run",),
    "compare": ("run", "run/comparisons/plain"),
    "frontier": ("run",),
    "choose": ("run", "candidates.csv"),
    "generate": ("run", "--ask", "test 1", "-n", "2"),
    "export": ("run", "serving"),
    "simulate": ("template", "chat.jsonl", "--rows", "20"),
    "report": ("run",),
    "survey": ("answers.csv",),
    "runs": (".",),
    "design": ("run",),
    "plugins": (),
    "benchmark": ("estimators", "--quick", "--out", "tables"),
    "version": (),
}


@pytest.mark.parametrize("verb", VERBS)
def test_json_of_every_verb_is_one_document(call, folder, monkeypatch, verb):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("causalopt.run.export.export", lambda *_, **__: 1e-7)  # the run's policy is no language model
    monkeypatch.setattr("causalopt.simulation.chat_log.chat_log", lambda sample: f"{len(sample)}\n")
    monkeypatch.setattr("benchmarks.estimators.__main__.main", lambda argv: print("a table"))
    code, out, err = call(verb, *ARGUMENTS[verb], "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["command"] == verb
    assert found["ok"] is True
    assert found["error"] is None
    assert isinstance(found["warnings"], list)
    # The page lists the keys of the result.
    row = next(line for line in (DOCS / "cli.md").read_text().splitlines() if re.match(rf"\| .*`{verb}`.* \| .", line))
    assert {key for key in found["result"] if f"`{key}`" not in row} == set()


@pytest.mark.parametrize(("arguments", "kind", "code"), [
    (("check", "none.yaml"), "ConfigError", 2),
    (("evaluate", "none"), "ConfigError", 2),
    (("optimise",), "UsageError", 2),
    (("run",), "UsageError", 2),
    (("check", "none.yaml", "--never"), "UsageError", 2),
    (("plugins", "--quiet", "--verbose"), "ConfigError", 2),
])  # fmt: skip
def test_an_error_is_a_document_too(call, arguments, kind, code):
    found_code, out, err = call(*arguments, "--json")
    found = json.loads(out)
    assert found_code == found["error"]["exit_code"] == code
    assert found["error"]["kind"] == kind
    assert (found["ok"], found["result"]) == (False, None)
    assert " ".join(found["error"]["message"].split()[:3]) in " ".join(err.split())


def test_a_fault_is_a_document_with_exit_code_one(call, monkeypatch):
    def fails(self):
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr("causalopt.plugins.Registry.names", fails)
    code, out, err = call("plugins", "--json")
    assert code == json.loads(out)["error"]["exit_code"] == 1
    assert json.loads(out)["error"]["kind"] == "ZeroDivisionError"
    assert "its traceback is in" in err


def test_a_run_shows_its_stages_and_closes_with_three_answers(folder, call, monkeypatch):
    monkeypatch.chdir(folder)
    found = json.loads((folder / "stdout").read_text())["result"]
    names = [one.name for one in stages_of(folder / "run")]
    lines = [line for line in (folder / "stderr").read_text().splitlines() if " · " in line]
    assert [line.split(" · ")[:2] for line in lines] == [
        [f"{i} of {len(names)}", name] for i, name in enumerate(names, start=1)
    ]
    assert [one["name"] for one in found["stages"]] == names
    monkeypatch.setattr("causalopt.run.pipeline.run", lambda *_, **__: found["metrics"])
    code, out, _ = call("run", "log.yaml", "--out", "run")
    assert code == 0
    closing = out.splitlines()[-5:]
    assert [line[:3] for line in closing[:3]] == ["1. ", "2. ", "3. "]
    assert closing[:3] == [f"{i}. {found['answers'][key]}" for i, key in enumerate(("value", "evidence", "model"), 1)]
    assert "plain" in closing[3]
    assert closing[4] == f"Report: {Path('run') / 'report.html'}"
    assert "│" not in out  # no table


def test_quiet_leaves_the_answers_and_verbose_adds_the_tables(folder, call, monkeypatch):
    monkeypatch.chdir(folder)
    metrics = json.loads((folder / "run" / "metrics.json").read_text()) | {"warnings": ["one", "one"]}
    monkeypatch.setattr("causalopt.run.pipeline.run", lambda *_, **__: metrics)
    assert call("run", "log.yaml", "--out", "run")[2].splitlines()[-1] == "warning: one"
    code, out, err = call("run", "log.yaml", "--out", "run", "--quiet")
    assert code == 0
    assert err == ""
    assert len(out.splitlines()) == 5
    code, loud, _ = call("run", "log.yaml", "--out", "run", "--verbose")
    assert code == 0
    for title in ("Stages", "Value (clicks)", "Can the data answer that?"):
        assert title in loud
    assert loud.splitlines()[-5:] == out.splitlines()
    assert "│" in call("evaluate", "run", "-v")[1]
    assert "│" not in call("evaluate", "run")[1]


def test_the_shell_completes_verbs():
    environment = {
        **os.environ,
        "_CAUSALOPT_COMPLETE": "complete_bash",
        "COMP_WORDS": "causalopt fr",
        "COMP_CWORD": "1",
    }
    command = [sys.executable, "-c", "from causalopt.cli.main import main; main()"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["frontier"]
