"""Whatever a user does wrong on the command line is one line with exit code 2, and changes no file."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from full_disk import largest_file

from causalopt.cli.main import main
from causalopt.errors import CausalOptWarning

TEXTS = [
    f"{a} {b} {c}" for a in ("help", "give", "act") for b in ("now", "soon", "please") for c in ("we", "you", "all")
]
CONFIG = {
    "data": {"path": "survey.csv", "outcome": "resp", "covariates": ["age"]},
    "outcome_model": "ridge",
    "assignment_model": "gaussian",
    "backend": "finite",
    "cross_fitting": {"folds": 2},
    "evaluation": {"draws": 20},
}


def survey(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(TEXTS, n), "age": rng.normal(40, 10, n), "exposure": 1.0})
    frame["resp"] = 2.0 * frame["text"].str.contains("please") + 0.05 * frame["age"] + rng.normal(size=n)
    frame["log_q"], frame["prompt"] = -np.log(27), [f"p {i % 40}" for i in range(n)]
    frame["log_f"] = frame["log_q"] + 0.1 * rng.normal(size=n)
    return frame


def call_main(*arguments: object) -> int:
    before, sys.argv = sys.argv, ["causalopt", *map(str, arguments)]
    try:
        with warnings.catch_warnings(action="ignore", category=CausalOptWarning):
            main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, its configuration, a finished run, and one that chooses among the texts of each prompt."""
    folder = tmp_path_factory.mktemp("made")
    survey().to_csv(folder / "survey.csv", index=False)
    (folder / "survey.yaml").write_text(yaml.safe_dump(CONFIG))
    prompted = {**CONFIG, "data": {**CONFIG["data"], "prompt": "prompt"}}
    prompted["backend"] = {"name": "finite", "candidates": "per_prompt"}
    (folder / "prompted.yaml").write_text(yaml.safe_dump(prompted))
    pd.DataFrame({"prompt": ["p 1", "p 1"], "text": TEXTS[:2]}).to_csv(folder / "candidates.csv", index=False)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert call_main("run", "survey.yaml", "--out", "run") == 0
        assert call_main("run", "prompted.yaml", "--out", "prompted") == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "here"


@pytest.fixture
def refused(here: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call the command line, which must refuse in one line and leave every file as it was; returns that line."""

    def call(*arguments: object, code: int = 2, changes: bool = False) -> str:
        before = contents(here)
        capfd.readouterr()
        found = call_main(*arguments)
        err = capfd.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("error: ") or "Traceback" in line]
        assert found == code, err
        assert len(lines) == 1, err
        assert err.rstrip().endswith(lines[0])
        assert "fault of causalopt" not in err
        assert changes or contents(here) == before
        return lines[0]

    return call


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


YAML = {
    "empty": ("", "must be a mapping"),
    "a list": ("- a\n", "must be a mapping"),
    "bytes": (bytes(range(256)), "is not UTF-8 text"),
    "a NUL": ("data: {path: \"a\0b\"}", "is not valid YAML"),
    "a key twice": ("data: {path: survey.csv}\nseed: 1\nseed: 2\n", "line 3, column 1: the key 'seed' is there twice"),
    "a key twice, below": ("data: {path: survey.csv, path: other.csv}", "the key 'path' is there twice"),
    "deep": ("data: " + "[" * 3000 + "]" * 3000, "nested deeper"),
    "deep, but not for the parser": ("data: " + "[" * 60 + "]" * 60, "nested deeper"),
    "in itself": ("&a {data: *a}", "nested deeper"),
    "a bomb": ("a: &a [" + "x," * 20 + "]\nb: &b [" + "*a," * 20 + "]\nc: &c [" + "*b," * 20 + "]\ndata: [" + "*c," * 20
               + "]", "its aliases stand for more than"),
    "a date that is none": ("data: 2020-13-45", "is not valid YAML"),
    "a number of 6000 digits": (f"data: {{path: survey.csv}}\nseed: {'9' * 6000}", "is not valid YAML"),
    "a tag": ("data: !!python/object/apply:os.system ['ls']", "is not valid YAML: could not determine"),
    "a key that is no string": ("data: {path: survey.csv, outcome: resp}\n1: 2", "1: Keys should be strings"),
    "too long": ("#" * (2**20 + 1), "is longer than a configuration"),
}  # fmt: skip


@pytest.mark.parametrize("case", YAML)
def test_a_file_that_is_no_configuration(here: Path, refused, case: str) -> None:
    content, said = YAML[case]
    (here / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said in refused("check", "bad.yaml")


SETTINGS = {
    "objective={name: dr_cpo, kl: high}": "objective 'dr_cpo': kl must be a number, not 'high'",
    "objective={name: dr_cpo, clip: .nan}": "clip must be a number or null, not nan",
    "objective={name: dr_cpo, kl: -1}": "objective.kl must be a number of at least 0",
    "comparisons={x: {objective: {name: cpo, kl: [1]}}}": "objective 'cpo': kl must be a number, not [1]",
    "outcome_model={name: ridge, products: [1]}": "outcome model 'ridge': products must be a whole number, not [1]",
    "assignment_model={name: gaussian, sample: .inf}": "sample must be a whole number, not inf",
    "embedder={name: tfidf-svd, dimensions: many}": "dimensions must be a whole number, not 'many'",
    "backend={name: finite, l2: high}": "backend 'finite': l2 must be a number, not 'high'",
    "backend={name: finite, candidates: 3}": "candidates must be a list of strings or a mapping",
    "backend={name: finite, candidates: [a, '']}": "'' is not a text",
    "backend={name: finite, reference: 3}": "reference must be a mapping of settings or null, not 3",
    "backend={name: finite, reference: {tune: maybe}}": "backend.reference.tune must be true or false, not 'maybe'",
    "backend={name: huggingface, training: 3}": "training must be a mapping of settings or null, not 3",
    "backend={name: huggingface, training: {learning_rate: .nan}}": "training.learning_rate must be finite",
    "backend={name: huggingface, training: {learning_rate: -1}}": "learning_rate must be at least 0, not -1",
    "backend={name: huggingface, training: {max_steps: true}}": "training.max_steps: must be a number",
    "backend={name: huggingface, training: {report_to: nope}}": "report_to: 'nope' is not known; there are: none",
    "backend={name: huggingface, lora: {r: 0}}": "backend.lora.r must be at least 1",
    "backend={name: huggingface, lora: [1]}": "lora must be a mapping of settings or False or null, not [1]",
    "backend={name: huggingface, sampling: {batch_size: high}}": "backend.sampling.batch_size",
    "backend={name: huggingface, callbacks: [a]}": "callbacks must be a list, not ['a']",
    "seed=-1": "seed: Input should be greater than or equal to 0, not -1",
    "seed=4294967296": "seed: Input should be less than or equal to 4294967295",
    "seed=true": "seed: must be a number, not true",
    "target_kl=.nan": "target_kl: Input should be a finite number, not nan",
    "cross_fitting.max_weight=.inf": "cross_fitting.max_weight: Input should be a finite number",
    "evaluation.draws=100000000000000000000": "evaluation.draws",
    "evaluation=3": "evaluation: must be a section of settings (key: value), not 3",
    'data.path="a\\0b"': "NUL byte",
    "data.path=''": "the name is empty",
    "data.covariates=5": "data.covariates",
    "seed=2020-13-45": "the value: is not valid YAML",
    "comparisons={policy: {}}": "'policy' is the name of another policy",
    "comparisons={reference: {}}": "'reference' is the name of another policy",
    "comparisons={end: {}}": "'end' is the name of another policy",
    "comparisons={work: {}}": "'work' is the name of another policy",
    "comparisons={'../x': {}}": "cannot be the name of a comparison",
    "comparisons={'a/b': {}}": "cannot be the name of a comparison",
    "comparisons={'': {}}": "cannot be the name of a comparison",
    "comparisons={CON: {}}": "cannot be the name of a comparison",
    f"comparisons={{{'x' * 300}: {{}}}}": "at most 100 bytes",
    "comparisons={3: {}}": "comparisons.3",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_a_wrong_kind(refused, setting: str) -> None:
    assert SETTINGS[setting] in refused("check", "survey.yaml", "--set", setting)


PLACES = {
    "a file": "file",
    "below a file": "file/below",
    "nothing": "",
    "too long": "x" * 300,
    "a NUL byte": "a\0b",
    "no UTF-8": "a\udcff",
    "a link to nowhere": "dangling",
    "a loop of links": "loop",
    "the root": "/",
    "a device": "/dev/null",
}
VERBS = {
    "run": ("run", "survey.yaml"),
    "estimate": ("estimate", "survey.csv", "--outcome", "resp", "--policy-log-prob", "log_f"),
    "evaluate": ("evaluate", "run"),
    "compare": ("compare", "run", "run"),
    "choose": ("choose", "prompted", "candidates.csv"),
    "frontier": ("frontier", "run", "--choose", "0.1"),
    "init": ("init", "survey.csv", "--text", "text", "--outcome", "resp"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_place_that_cannot_be_written_to(here: Path, refused, verb: str, place: str) -> None:
    (here / "file").write_text("something of the user's")
    (here / "dangling").symlink_to("nowhere/deeper")
    (here / "loop").symlink_to("loop")
    refused(*VERBS[verb], "--out", PLACES[place])


SOURCES = ("check", "evaluate", "report", "generate", "estimate", "choose")


@pytest.mark.parametrize(
    "place", ["a file", "nothing", "too long", "a NUL byte", "a link to nowhere", "a loop of links"]
)
@pytest.mark.parametrize("verb", SOURCES)
def test_a_source_that_cannot_be_one(here: Path, refused, verb: str, place: str) -> None:
    (here / "file").write_text("something of the user's")
    (here / "loop").symlink_to("loop")
    (here / "dangling").symlink_to("nowhere/deeper")
    more = {"estimate": ("--policy", "logged"), "choose": ("candidates.csv",), "compare": ("run",)}.get(verb, ())
    refused(verb, PLACES[place], *more)


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "noise": lambda content: b"\x00\xff\xfe" * 50,
    "a pickle": lambda content: pickle.dumps({"a": 1}),
    "deep": lambda content: b"[" * 50_000,
    "a list": lambda content: b"[]",
    "an empty object": lambda content: b"{}",
}
READERS = {
    "run/metrics.json": ("frontier", "report"),
    "run/manifest.json": ("evaluate",),
    "run/config.yaml": ("evaluate", "resume"),
    "run/policy/finite_policy.json": ("generate", "evaluate"),
    "run/policy/finite_policy.safetensors": ("generate",),
    "run/policy/causalopt_backend.json": ("generate",),
    "run/pseudo_outcomes.parquet": ("report",),
    "run/samples.parquet": ("report",),
    "prompted/pseudo_outcomes.parquet": ("choose",),
    "prompted/policy/conditional_logit.safetensors": ("choose",),
}
READING = {
    "frontier": ("frontier", "run"),
    "report": ("report", "run"),
    "evaluate": ("evaluate", "run"),
    "resume": ("run", "survey.yaml", "--out", "run", "--resume"),
    "generate": ("generate", "run"),
    "choose": ("choose", "prompted", "candidates.csv"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_of_a_run(here: Path, refused, name: str, damage: str) -> None:
    path = here / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    for verb in READERS[name]:
        said = refused(*READING[verb])
        assert Path(name).parts[0] in said  # the run, if not the file


@pytest.mark.parametrize("arguments", [
    ("generate", "run", "--seed", "-1"), ("generate", "run", "--seed", 2**32), ("generate", "run", "--n", 0),
    ("generate", "run", "--n", -3), ("evaluate", "run", "--draws", 0), ("evaluate", "run", "--draws", 10**30),
])  # fmt: skip
def test_a_number_out_of_range(here: Path, capfd, arguments) -> None:
    assert call_main(*arguments) == 2
    assert "Invalid value" in capfd.readouterr().err
    for level in ("nan", "inf", "2"):
        assert call_main("choose", "prompted", "candidates.csv", "--level", level) == 2


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", "🎉", "a\nb", "\x1b[31m"])
def test_a_column_with_a_name_that_steers_terminals(here: Path, capfd, name: str) -> None:
    survey().rename(columns={"resp": name, "age": f"{name} too"}).to_csv(here / "survey.csv", index=False)
    columns = ("--outcome", name, "--covariate", f"{name} too", "--policy-log-prob", "log_f")
    fast = ("--set", "outcome_model=ridge", "--set", "assignment_model=gaussian", "--set", "cross_fitting.folds=2")
    capfd.readouterr()
    code = call_main("estimate", "survey.csv", *columns, "--behavior-log-prob", "log_q", *fast)
    out, err = capfd.readouterr()
    assert code == 0, err
    assert "\x1b" not in out
    if name == "[/red]":
        assert "[/red] would be" in out
    roles = {"data.outcome": name, "data.covariates": [f"{name} too"]}
    changes = [f"--set={key}={json.dumps(value, ensure_ascii=False)}" for key, value in roles.items()]
    assert call_main("check", "survey.yaml", *changes) == 0
    assert call_main("estimate", "survey.csv", "--outcome", f"{name}?") == 2


@pytest.mark.parametrize("column", ["resp", "exposure", "log_f", "log_q"])
@pytest.mark.parametrize("value", [1e308, -1e308, float("inf"), 5e-324])
def test_an_extreme_number_is_refused_or_bears_finite_numbers(here: Path, capfd, column: str, value: float) -> None:
    frame = survey()
    frame.loc[3, column] = value
    frame.to_csv(here / "survey.csv", index=False)
    roles = ("--outcome", "resp", "--covariate", "age", "--policy-log-prob", "log_f", "--behavior-log-prob", "log_q")
    fast = ("outcome_model=ridge", "assignment_model=gaussian", "cross_fitting.folds=2", "data.weight=exposure",
            "evaluation.benchmark=[]")  # fmt: skip
    out = here / "found.json"
    code = call_main("estimate", "survey.csv", *roles, *[f"--set={one}" for one in fast], "--out", out)
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "fault of causalopt" not in err
    assert code == (0 if out.exists() else 2), err
    if code:
        assert err.rstrip().splitlines()[-1].startswith("error: ")
    else:
        assert "NaN" not in out.read_text()


@pytest.mark.parametrize("command", [
    ("estimate", "survey.csv", "--outcome", "resp", "--policy-log-prob", "log_f", "--behavior-log-prob", "log_q",
     "--set", "outcome_model=ridge", "--set", "evaluation.benchmark=[]", "--set", "cross_fitting.folds=2"),
    ("evaluate", "run"),
    ("compare", "run", "run"),
    ("choose", "prompted", "wide.csv"),
])  # fmt: skip
def test_numbers_are_printed_before_a_write_that_fails(here: Path, capsys, command) -> None:
    pd.DataFrame({"prompt": "p 1", "text": TEXTS}).to_csv(here / "wide.csv", index=False)
    with largest_file(500):
        code = call_main(*command, "--out", "found.json")
    out, err = capsys.readouterr()
    assert code == 2
    assert ("score" if command[0] == "choose" else "difference") in out
    assert "error: found.json: cannot be written: File too large; make room" in err
    assert not (here / "found.json").exists()


def test_a_run_on_a_full_disk_is_one_line(here: Path, refused) -> None:
    with largest_file(3000):
        said = refused("run", "survey.yaml", "--out", "new", changes=True)
    assert re.match("error: new.*: cannot be written: .*File too large; make room", said)


def test_what_is_left_is_one_line_that_names_the_traceback(here: Path, monkeypatch, capfd) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("causalopt.run.plan.prepare", fails)
    assert call_main("check", "survey.yaml") == 1
    err = capfd.readouterr().err
    found = re.fullmatch(
        r"error: this is a fault of causalopt \(ZeroDivisionError: a fault\); its traceback is in (\S+)\n", err
    )
    assert found is not None, err
    kept = Path(found[1])
    assert 'raise ZeroDivisionError("a fault")' in kept.read_text()
    assert here not in kept.parents
    kept.unlink()


@pytest.mark.parametrize(("error", "code", "said"), [
    (KeyboardInterrupt(), 130, "error: interrupted\n"),
    (BrokenPipeError(), 141, ""),
    (MemoryError("8 TiB"), 2, "error: memory is not enough (MemoryError: 8 TiB): use fewer rows, texts, draws or "
     "dimensions\n"),
])  # fmt: skip
def test_other_ends(here: Path, monkeypatch, capfd, error: BaseException, code: int, said: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("causalopt.run.plan.prepare", fails)
    monkeypatch.setattr("causalopt.cli.console.os.dup2", lambda *_: None)
    assert call_main("check", "survey.yaml") == code
    assert capfd.readouterr().err == said


def test_closed_streams(here: Path) -> None:
    """One process each: head that closes the pipe, no standard output at all, and one that is full."""
    causalopt = f"{sys.executable} -m causalopt"
    script = f"""
        {causalopt} generate run --n 100000 | head -1
        echo codes ${{PIPESTATUS[@]}}
        {causalopt} plugins >&-
        echo code $?
        {causalopt} version > /dev/full
        echo code $?
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert json.loads(lines[0])["text"] in TEXTS
    assert lines[1:] == ["codes 141 0", "code 0", "code 2"]
    assert done.stderr == "error: the output cannot be written: No space left on device; make room on that disk\n"


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_test_rows_with_one_outcome_have_no_share_explained(here: Path) -> None:
    frame = survey()
    frame["resp"] = (frame.index == 3).astype(float)
    frame.to_csv(here / "survey.csv", index=False)
    code = call_main("run", "survey.yaml", "--out", "new", "--set", "choose=null")
    assert code in (0, 2)
    assert code == 2 or json.loads((here / "new/metrics.json").read_text())["nuisance"]["test"]["outcome_r2"] is None
