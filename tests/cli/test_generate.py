"""`causalopt generate`: from a table of prompts to a table of texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answering import EFFECT, PROMPTS

from causalopt.backends import load_policy
from causalopt.language_models import sampling

Command = Callable[..., tuple[object, str, str]]
pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Prompts in another order than their lengths, one of them twice, and one that no row of the data has."""
    asked = [PROMPTS[4], "Ask for the museum:", PROMPTS[0], PROMPTS[4]]
    pd.DataFrame({"question": asked, "id": [7, 8, 9, 10]}).to_csv(tmp_path / "prompts.csv", index=False)
    return tmp_path / "prompts.csv"


def test_each_prompt_has_its_texts(command: Command, answering: Path, table: Path, tmp_path: Path) -> None:
    tables = {}
    for name in ("texts.csv", "texts.jsonl", "texts.parquet"):
        code, out, err = command(
            "generate", answering / "run", "--prompts", table, "--n", 3, "--seed", 4, "--out", tmp_path / name
        )
        assert code == 0, err
        assert "12 texts" in out
        read: dict[str, Callable[[Path], pd.DataFrame]] = {
            "csv": pd.read_csv, "jsonl": lambda path: pd.read_json(path, lines=True), "parquet": pd.read_parquet,
        }  # fmt: skip
        tables[name] = read[name.split(".")[1]](tmp_path / name)
    found = tables["texts.parquet"]
    assert list(found) == ["row", "prompt", "draw", "text", "temperature"]
    assert found["row"].tolist() == np.repeat(range(4), 3).tolist()
    assert found["draw"].tolist() == [0, 1, 2] * 4
    assert found["prompt"].tolist() == [one for one in pd.read_csv(table)["question"] for _ in range(3)]
    policy = load_policy(answering / "run" / "policy")
    assert found["text"].tolist() == policy.sample(found["prompt"].tolist(), 12, seed=4)
    for other in ("texts.csv", "texts.jsonl"):
        pd.testing.assert_frame_equal(tables[other], found, check_dtype=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompts.csv", *sorted(tables)]


def test_a_killed_command_goes_on(
    command: Command, answering: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, sizes = sampling._draw, []

    def dies(*arguments: Any) -> Any:
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return counted(*arguments)

    def counted(*arguments: Any) -> Any:
        sizes.append(len(arguments[2]))
        return draw(*arguments)

    call = ("generate", answering / "run", "--prompts", table, "--n", 5, "--out")
    assert command(*call, tmp_path / "whole.csv")[0] == 0
    monkeypatch.setattr(sampling, "_draw", dies)
    assert command(*call, tmp_path / "killed.csv")[0] == 130
    assert not (tmp_path / "killed.csv").exists()
    first = sum(sizes)
    sizes.clear()
    monkeypatch.setattr(sampling, "_draw", counted)
    assert command(*call, tmp_path / "killed.csv")[0] == 0
    assert first == 8
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    once = sum(sizes)
    sizes.clear()
    assert command(*call, tmp_path / "again.csv")[0] == 0
    assert sum(sizes) == once + first  # what was drawn before was not drawn again
    assert {path.name for path in tmp_path.iterdir()} == {"prompts.csv", "whole.csv", "killed.csv", "again.csv"}
    sizes.clear()
    monkeypatch.setattr(sampling, "_draw", dies)
    assert command(*call, tmp_path / "other.csv")[0] == 130
    monkeypatch.setattr(sampling, "_draw", draw)
    for name in ("other.csv", "hot.csv"):  # of what was drawn at another temperature nothing is taken up
        assert command(*call, tmp_path / name, "--temperature", 3)[0] == 0
    assert (tmp_path / "other.csv").read_bytes() == (tmp_path / "hot.csv").read_bytes()


def test_other_sources_and_settings(command: Command, answering: Path, table: Path) -> None:
    call = ("--prompts", table, "--n", 2)

    def texts(*arguments: object) -> list[str]:
        code, out, err = command("generate", *arguments, *call)
        assert code == 0, err
        return [json.loads(line)["text"] for line in out.splitlines()]

    run = answering / "run"
    of_policy = texts(run)
    assert of_policy == texts(run / "policy")
    reference = load_policy(run / "reference")
    asked = [prompt for prompt in pd.read_csv(table)["question"] for _ in range(2)]
    assert texts(run, "--reference") != of_policy
    assert texts(run, "--reference") == reference.sample(asked, 8, 0) == texts(run / "reference")
    assert max(map(len, texts(run, "--max-new-tokens", 2))) < min(map(len, of_policy))
    assert texts(run, "--temperature", 1e-4) == texts(run, "--temperature", 1e-4, "--seed", 5)
    code, out, err = command("generate", run, "--ask", PROMPTS[0], "--temperature", 3, "--n", 1)
    assert code == 0
    assert json.loads(out)["temperature"] == 3
    assert "not draws from the policy that was evaluated" in err


def test_texts_are_scored_by_rows_that_the_policy_did_not_see(
    command: Command, answering: Path, table: Path, tmp_path: Path
) -> None:
    """Outcomes of the training rows change nothing, those of the test rows do; please is worth what it was made."""
    from causalopt.run.config import load_config
    from causalopt.run.plan import read_data

    def scored(name: str, spec: object) -> pd.DataFrame:
        out = tmp_path / f"{name}.parquet"
        code, _, err = command(
            "generate", answering / "run", "--prompts", table, "--n", 8, "--score", spec, "--out", out
        )
        assert code == 0, err
        return pd.read_parquet(out)

    config = load_config(answering / "chat.yaml")
    train, test = read_data(config, None)
    frame = pd.read_csv(answering / "chat.csv")
    found = scored("own", answering / "run")
    assert found["g"].notna().all()
    please = found["text"].str.contains("please") & (found["text"].str.len() < 25)
    assert please.any()
    assert abs(found["g"][please].mean() - found["g"][~please].mean() - EFFECT) < 0.7
    for name, rows, same in (("train", train.row, True), ("test", test.row, False)):
        changed = frame.copy()
        changed.loc[rows, "resp"] = changed.loc[rows, "resp"].to_numpy()[::-1]
        changed.to_csv(tmp_path / f"{name}.csv", index=False)
        config_text = (answering / "chat.yaml").read_text()
        written = config_text.replace(str(answering / "chat.csv"), str(tmp_path / f"{name}.csv"))
        (tmp_path / f"{name}.yaml").write_text(written)
        other = scored(name, tmp_path / f"{name}.yaml")
        assert other["text"].tolist() == found["text"].tolist()
        assert np.allclose(other["g"], found["g"], atol=1e-12) == same, name
    frame.iloc[test.row].to_csv(tmp_path / "apart.csv", index=False)
    assert scored("a table", tmp_path / "apart.csv")["g"].notna().all()


@pytest.mark.parametrize(("arguments", "said"), [
    (("--prompts", "none.csv"), "none.csv: there is no such file"),
    (("--prompts", "good.csv", "--prompt", "ask"), "no column 'ask'"),
    (("--prompts", "other.csv"), "no column 'prompt'"),
    (("--prompts", "empty.csv"), "column 'question', row 2 holds no text"),
    (("--prompts", "nothing.csv"), "has no row"),
    (("--prompts", "long.csv"), "long.csv: the prompt in row 2 has"),
    (("--prompt", "question"), "--prompt names a column"),
    (("--prompts", "good.csv", "--ask", "x"), "exclude each other"),
    (("--ask", " "), "the prompt is empty"),
    ((), "answers prompts; give a table of them with --prompts"),
    (("--prompts", "good.csv", "--temperature", "0"), "--temperature must be above 0"),
    (("--prompts", "good.csv", "--temperature", "nan"), "--temperature must be above 0"),
    (("--prompts", "good.csv", "--out", "texts.txt"), "ends in .txt; a table ends in .csv, .jsonl, .parquet"),
    (("--prompts", "good.csv", "--out", "good.csv"), "already exists"),
    (("--prompts", "good.csv", "--score", "chat.csv"), "trained or chose a policy"),
    (("--prompts", "good.csv", "--score", "good.csv"), "no column 'answer'"),
    (("--prompts", "good.csv", "--score", "none.yaml"), "none.yaml: there is no such configuration file"),
])  # fmt: skip
def test_bad_input_is_one_line(
    command: Command,
    answering: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(answering / "chat.csv", "chat.csv")
    pd.DataFrame({"question": PROMPTS[:2]}).to_csv("good.csv", index=False)
    pd.DataFrame({"text": PROMPTS[:2]}).to_csv("other.csv", index=False)
    pd.DataFrame({"question": [PROMPTS[0], " "], "id": [1, 2]}).to_csv("empty.csv", index=False)
    pd.DataFrame({"question": []}).to_csv("nothing.csv", index=False)
    pd.DataFrame({"question": [PROMPTS[0], "word " * 400]}).to_csv("long.csv", index=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = command("generate", answering / "run", *arguments)
    assert code == 2
    assert said in err
    assert err.count("error: ") == 1
    assert out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_a_source_does_not_have(command: Command, answering: Path, table: Path, tmp_path: Path) -> None:
    shutil.copytree(answering / "run" / "policy", tmp_path / "policy")
    code, _, err = command("generate", tmp_path / "policy", "--prompts", table, "--prompt", "question", "--reference")
    assert code == 2
    assert "is no run, and has no reference" in err
    code, _, err = command(
        "generate", tmp_path / "policy", "--prompts", table, "--prompt", "question", "--score", answering / "chat.csv"
    )
    assert code == 2
    assert "is no run, so the columns of" in err
