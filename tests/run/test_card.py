"""What a run says in its policy's model card, and that the card may be edited."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from causalopt.backends.huggingface.card import model_card
from causalopt.digits import interval

Command = Callable[..., tuple[object, str, str]]


def test_the_card_has_front_matter_and_the_evidence_of_the_run(answering: Path) -> None:
    card = (answering / "run" / "policy" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front == {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["causalopt", "lora"]}
    metrics, manifest = (
        json.loads((answering / "run" / f"{name}.json").read_text()) for name in ("metrics", "manifest")
    )
    assert metrics["verdict"] in card
    for name in ("reference", "policy", "difference"):
        estimate, low, high = interval(metrics["value"][name])
        assert f"| {name} | {estimate} | {low} to {high} |" in card
    frame = pd.read_csv(answering / "chat.csv")
    for name, fingerprint in manifest["fingerprint"].items():
        rows = metrics["data"][f"{name}_rows"]
        assert f"{name} rows: {rows}, distinct texts: " in card
        assert fingerprint in card
    assert f"distinct texts: {frame['answer'].nunique()}" in card
    for said in ("resp (higher is better)", "Given age", "**Overlap.**", "`chat.csv`", "KL(policy || reference)"):
        assert said in card
    assert str(answering) not in card
    assert "## Evidence" not in (answering / "run" / "reference" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("base", "adapter", "front"), [
    ("Qwen/Qwen2.5-0.5B", True, ["Qwen/Qwen2.5-0.5B", "peft"]), ("/models/own", True, [None, "peft"]),
    ("Qwen/Qwen2.5-0.5B", False, ["Qwen/Qwen2.5-0.5B", "transformers"]), (None, False, [None, "transformers"]),
    ("smollm2", True, ["HuggingFaceTB/SmolLM2-135M-Instruct", "peft"]),
])  # fmt: skip
def test_the_front_matter_names_what_a_hub_knows(base: str | None, adapter: bool, front: list[str | None]) -> None:
    card = model_card(base, adapter=adapter)
    found = yaml.safe_load(card.split("---")[1])
    assert [found.get("base_model"), found["library_name"]] == front
    assert ("rounded to four" in card) == (base == "smollm2")
    assert "and its end token." in card
    assert "with which it ends a turn." in model_card(base, adapter=adapter, chat_template=True)


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_an_edited_card_is_no_damage(answering: Path, command: Command, tmp_path: Path) -> None:
    shutil.copytree(answering / "run", tmp_path / "run")
    card = tmp_path / "run" / "policy" / "README.md"
    card.write_text("Mine.\n\n## Evidence\n\nForged.\n")
    code, out, err = command("run", answering / "chat.yaml", "--out", tmp_path / "run", "--resume")
    assert code == 0, err
    assert "there is nothing to do" in " ".join(out.split())
    (tmp_path / "run" / "reference" / "README.md").unlink()
    code, out, err = command(
        "run", answering / "chat.yaml", "--out", tmp_path / "run", "--overwrite", "--set", "evaluation.level=0.9"
    )
    assert code == 0, err
    assert "Reused: reference policy, texts drawn from the reference, optimisation" in " ".join(out.split())
    text = card.read_text(encoding="utf-8")
    assert "90% interval" in text
    assert text.count("## Evidence") == 1
    assert "Forged" not in text
