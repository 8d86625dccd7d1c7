"""`causalopt compare A B --judge NAME`: from two tables or policies to a win rate, through crashes and bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from answering import ANSWERS, PROMPTS
from judge_server import KEY, JudgeServer, reply, serving

from causalopt.language_models import sampling
from causalopt.run.config import load_config
from causalopt.run.generate import draw_texts
from causalopt.run.plan import read_data

Command = Callable[..., tuple[object, str, str]]
pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
CRITERION = "Which of the two texts would more people sign?"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving(JudgeServer()) as server:
        yield server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables of twelve texts for six prompts; b's text is longer, which the server prefers, for all prompts but one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    prompts = [f"prompt {i // 2}" for i in range(12)]
    a = pd.DataFrame({"prompt": prompts, "text": [f"a {i:02} ##" for i in range(12)]})
    b = a.assign(text=[f"b {i:02} {'#' * (1 if i < 2 else 3)}" for i in range(12)])
    a.to_csv("a.csv", index=False)
    b.iloc[[*range(0, 12, 2), *range(1, 12, 2)]].to_json("b.jsonl", orient="records", lines=True)  # in another order
    return tmp_path


def asked(server: JudgeServer, *more: object, out: str = "out") -> tuple[object, ...]:
    return (
        "compare", "a.csv", "b.jsonl", "--judge", "openai", "--set", "judge.model=m", "--set",
        f"judge.base_url={server.url}", "--criterion", CRITERION, "--out", out, *more,
    )  # fmt: skip


def numbers(out: str | Path = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(out) / "judgement.json").read_text())
    return found


def lines(out: str | Path = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(out) / "answers.jsonl").read_text().splitlines()]


def test_two_tables(command: Command, server: JudgeServer, here: Path) -> None:
    code, out, err = command(*asked(server))
    assert code == 0, err
    texts = pd.read_parquet("out/texts.parquet")
    assert texts["a"].tolist() == pd.read_csv("a.csv")["text"].tolist()
    assert [text[:4] for text in texts["b"]] == [f"b {i:02}" for i in range(12)]  # the k-th of a prompt meets the k-th
    both = list(zip(texts["a"], texts["b"], strict=True))
    assert set(server.received.values()) == {2}  # two questions
    assert sorted(server.received) == sorted(shown for a, b in both for shown in ((a, b), (b, a)))
    kept = lines()
    assert len(kept) == 12 * 2 * 2
    assert {one["answer"] for one in kept} == {"A", "B"}
    found = numbers()
    assert list(found["questions"]) == ["outcome", "coherence"]
    one = found["questions"]["outcome"]
    assert (one["wins"], one["ties"], one["losses"], one["decided"]) == (10, 0, 2, 12)
    assert one["win_rate"]["estimate"] == pytest.approx(10 / 12)
    assert one["win_rate"]["se"] == pytest.approx(np.std([0, 1, 1, 1, 1, 1], ddof=1) / np.sqrt(6))
    assert one["first_position"]["estimate"] == 0.5
    assert (one["clustered_by"], one["clusters"]) == ("prompt", 6)
    assert one["criterion"] == CRITERION
    assert "0.833" in out
    assert "A judge is not a reader" in out
    everything = out + err + "".join(path.read_bytes().decode("latin-1") for path in Path("out").iterdir())
    assert KEY not in everything
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "answers.jsonl", "comparison.json", "judgement.json", "texts.parquet",
    ]  # fmt: skip
    before, server.received = Path("out/judgement.json").read_bytes(), type(server.received)()
    assert command(*asked(server))[0] == 0
    assert not server.received  # nothing is asked twice
    assert Path("out/judgement.json").read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == ["a.csv", "b.jsonl", "out"]


def test_a_process_that_is_killed_asks_nothing_twice_and_loses_nothing(
    command: Command, server: JudgeServer, here: Path
) -> None:
    """The server answers 17 of 48 requests, not the first, and holds the others until the client is dead."""
    dead, allowed, enough = [False], [0], 17

    def hold(handler: Any, shown: Any) -> bool:
        with server.lock:
            if shown != next(iter(server.received)) and allowed[0] < enough:
                allowed[0] += 1
                return False
        while not dead[0]:
            time.sleep(0.01)
        raise ConnectionAbortedError

    server.before = hold
    call = [str(one) for one in asked(server)]
    start = "import sys; from causalopt.cli.main import main; sys.argv = ['causalopt', *sys.argv[1:]]; main()"
    process = subprocess.Popen([sys.executable, "-c", start, *call], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    path, ends = Path("out/answers.jsonl"), time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < enough:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < ends
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL
    assert KEY.encode() not in output
    dead[0] = True
    assert next(iter(server.received)) not in server.answered
    first = lines()
    assert len(first) == enough == sum(server.answered.values())
    server.before = lambda handler, shown: False
    assert command(*asked(server))[0] == 0
    assert lines()[:enough] == first
    assert len(lines()) == 48
    assert set(server.answered.values()) == {2}  # each order of each pair once for each question
    assert len(server.answered) == 24
    assert command(*asked(server, out="whole"))[0] == 0
    assert numbers()["questions"] == numbers("whole")["questions"]


def test_a_judge_that_goes_down_in_the_middle(command: Command, here: Path) -> None:
    """Its error is one line that says what is kept; the same command goes on when it is up again."""

    def down(handler: Any, shown: Any) -> bool:
        if len(server.received) <= 9:
            return False
        reply(handler, 503, b"")
        return True

    with serving(JudgeServer(before=down)) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        call = asked(server, "--set", "judge.max_retries=0", "--set", "judge.at_once=2")
        code, _, err = command(*call)
    assert code == 2
    assert err.count("error: ") == 1
    assert "503" in err
    assert "answers are kept in out/answers.jsonl, and the same command goes on" in err
    done = len(lines())
    assert done >= 9
    code, _, err = command(*call)  # nobody listens
    assert code == 2
    assert "no server answers" in err
    assert len(lines()) == done
    with serving(JudgeServer(), port) as again:
        assert command(*call)[0] == 0
    assert sum(again.received.values()) == 48 - done
    assert numbers()["questions"]["outcome"]["wins"] == 10


def test_a_yaml_file_and_likert(command: Command, server: JudgeServer, here: Path) -> None:
    given = {"judge": {"name": "openai", "model": "m", "base_url": server.url}, "questions": ["outcome"],
             "criterion": CRITERION, "scale": "likert", "level": 0.9}  # fmt: skip
    Path("judge.yaml").write_text(yaml.safe_dump(given))
    server.rule = lambda first, second: "2" if len(first) > len(second) else "4"
    code, _, err = command("compare", "a.csv", "b.jsonl", "--judge", "judge.yaml", "--out", "out")
    assert code == 0, err
    one = numbers()["questions"]["outcome"]
    assert list(numbers()["questions"]) == ["outcome"]
    assert (one["wins"], one["ties"], one["losses"]) == (10, 0, 2)  # a middling answer leaves the other order to decide
    assert one["preference"]["estimate"] == pytest.approx((10 * (5 / 6 + 1 / 2) / 2 + 2 * (1 / 6 + 1 / 2) / 2) / 12)
    assert numbers()["level"] == 0.9
    again = ("compare", "a.csv", "b.jsonl", "--judge", "judge.yaml", "--out", "out")
    assert command(*again)[0] == 0
    code, _, err = command(*again, "--set", "scale=binary")
    assert code == 2
    assert "out: holds another comparison (questions is" in err


def test_only_ties_and_only_what_cannot_be_read(command: Command, server: JudgeServer, here: Path) -> None:
    server.rule = lambda first, second: "A"
    code, out, err = command(*asked(server, "--set", "questions=[outcome]"))
    assert code == 0, err
    one = numbers()["questions"]["outcome"]
    assert one["win_rate"] == {"estimate": 0.5, "se": 0.0, "ci_low": 0.5, "ci_high": 0.5}
    assert one["first_position"]["estimate"] == 1.0
    assert "openai favours the text that is shown first: 1.000 of its answers (95% interval 1.000 to 1.000)" in out
    assert "win rate of b.jsonl 0.500 (95% interval 0.500 to 0.500" in out
    assert "the interval has no width; other verdicts in up to 0.39 of the prompts" in out  # 1 - 0.05^(1/6)
    server.rule = lambda first, second: "I would rather not say."
    code, out, err = command(*asked(server, "--set", "questions=[outcome]", out="vague"))
    assert code == 2
    assert "no pair has two answers that can be read about outcome (24 answers)" in err
    assert [one["first"] for one in lines("vague")] == [None] * 24
    assert {one["answer"] for one in lines("vague")} == {"I would rather not say."}
    server.rule = lambda first, second: "?" if first == "a 03 ##" else "B" if first.startswith("a") else "A"
    code, out, err = command(*asked(server, "--set", "questions=[outcome]", out="one"))
    assert code == 0, err
    assert "1 of 24 answers cannot be read, which leaves 1 pairs undecided" in out
    assert "between 0.917 and 1.000" in out


def test_equal_texts_are_not_asked_and_pairs_are_limited(command: Command, server: JudgeServer, here: Path) -> None:
    frame = pd.read_csv("a.csv")
    frame.loc[:5, "text"] = "b" * 20
    frame.to_csv("c.csv", index=False)
    call = list(asked(server, "--set", "questions=[outcome]"))
    call[2] = "c.csv"
    assert command(*call)[0] == 0
    one = numbers()["questions"]["outcome"]
    assert (one["identical"], one["wins"], one["answers"]) == (6, 6, 12)
    server.received.clear()
    for out in ("some", "same"):
        assert command(*asked(server, "--pairs", 5, "--seed", 3, "--set", "questions=[outcome]", out=out))[0] == 0
    assert len(server.received) == 10
    pd.testing.assert_frame_equal(pd.read_parquet("some/texts.parquet"), pd.read_parquet("same/texts.parquet"))


LOCAL = ("--judge", "local-lm", "--set", "judge.model=scratch:tiny")


def test_two_policies_answer_the_prompts_of_the_test_rows(command: Command, answering: Path, here: Path) -> None:
    run, reference = str(answering / "run"), str(answering / "run" / "reference")
    code, _, err = command("compare", reference, run, *LOCAL, "--draws", 2, "--seed", 4, "--out", "out")
    assert code == 0, err
    texts = pd.read_parquet("out/texts.parquet")
    asked = texts["prompt"].drop_duplicates().tolist()
    assert asked == list(dict.fromkeys(read_data(load_config(answering / "chat.yaml"), None)[1].prompts or ()))
    assert len(asked) == 3
    for side, source in (("a", reference), ("b", run)):
        assert texts[side].tolist() == draw_texts(source, asked, 2, 4)["text"].tolist()
    one = numbers()["questions"]["outcome"]
    assert one["criterion"] == "Which of the two texts would lead the people who read it to a higher 'resp'?"
    assert one["decided"] == 6
    assert one["unreadable"] == 0
    assert 0 < one["preference"]["estimate"] < 1
    pd.DataFrame({"question": PROMPTS[:3]}).to_csv("prompts.csv", index=False)
    code, _, err = command("compare", reference, run, *LOCAL, "--prompts", "prompts.csv", "--out", "asked")
    assert code == 0, err
    assert pd.read_parquet("asked/texts.parquet")["prompt"].tolist() == PROMPTS[:3]
    # A table on one side decides the prompts, and how many texts there are of each.
    three = [PROMPTS[1], PROMPTS[0], PROMPTS[1]]
    pd.DataFrame({"prompt": three, "text": ANSWERS[:3]}).to_csv("people.csv", index=False)
    code, _, err = command("compare", "people.csv", run, *LOCAL, "--out", "mixed")
    assert code == 0, err
    mixed = pd.read_parquet("mixed/texts.parquet")
    assert mixed["prompt"].tolist() == three
    assert mixed["b"].tolist() == draw_texts(run, three, 1, 0)["text"].tolist()
    assert mixed["a"].tolist() == ANSWERS[:3]


def test_draws_that_were_interrupted_go_on(
    command: Command, answering: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = sampling._draw, []

    def counted(*arguments: Any) -> Any:
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(len(arguments[2]))
        return draw(*arguments)

    run, reference = str(answering / "run"), str(answering / "run" / "reference")
    call = ("compare", reference, run, *LOCAL, "--draws", 4, "--set", "questions=[coherence]", "--out")
    monkeypatch.setattr(sampling, "_draw", counted)
    assert command(*call, "out")[0] == 130
    assert not Path("out/texts.parquet").exists()
    before = sum(drawn)
    drawn.clear()
    monkeypatch.setattr(sampling, "_draw", lambda *arguments: drawn.append(len(arguments[2])) or draw(*arguments))
    assert command(*call, "out")[0] == 0
    again = sum(drawn)
    drawn.clear()
    assert command(*call, "whole")[0] == 0
    assert before > 0
    assert again == sum(drawn) - before  # what was drawn before was not drawn again
    pd.testing.assert_frame_equal(pd.read_parquet("out/texts.parquet"), pd.read_parquet("whole/texts.parquet"))
    assert {path.name for path in Path("out").iterdir()} == {path.name for path in Path("whole").iterdir()}


def test_the_outcome_model_of_the_test_rows_judges(command: Command, answering: Path, here: Path) -> None:
    """Please is worth 2 by construction: texts with it win against texts without."""
    run = str(answering / "run")
    for name, text in (("plain", "Help now today."), ("please", "Help please today.")):
        pd.DataFrame({"prompt": PROMPTS, "text": text}).to_csv(f"{name}.csv", index=False)
    code, _, err = command(
        "compare", "plain.csv", "please.csv", "--judge", "outcome-model", "--score", run, "--out", "out"
    )
    assert code == 0, err
    found = numbers()
    assert list(found["questions"]) == ["outcome"]  # it cannot judge coherence
    assert found["questions"]["outcome"]["win_rate"]["estimate"] == 1.0
    assert "higher 'resp'" in found["questions"]["outcome"]["criterion"]
    code, _, err = command("compare", f"{run}/reference", run, "--judge", "outcome-model", "--out", "policies")
    assert code == 0, err  # by default the model of the run's own test rows
    assert numbers("policies")["judge"]["rows"] == found["judge"]["rows"]
    for sides in ((f"{run}/reference", run), ("plain.csv", run), (run, "plain.csv")):
        call = ("compare", *sides, "--judge", "outcome-model", "--out", "seen", "--score")
        code, _, err = command(*call, str(answering / "chat.csv"))
        assert code == 2
        assert "trained or chose a policy" in err
        assert not Path("seen").exists()


BAD: dict[str, tuple[tuple[object, ...], str]] = {
    "an unknown judge": (("a.csv", "b.jsonl", "--judge", "opneai"), "(did you mean 'openai'?); there are: local-lm, o"),
    "a setting that there is not": (("a.csv", "b.jsonl", *LOCAL, "--set", "judge.modle=x"), "(did you mean 'model'?)"),
    "a key that there is not": (("a.csv", "b.jsonl", *LOCAL, "--set", "scael=likert"), "(did you mean 'scale'?)"),
    "a scale that there is not": (("a.csv", "b.jsonl", *LOCAL, "--set", "scale=ternary"), "'binary' or 'likert'"),
    "no questions": (("a.csv", "b.jsonl", *LOCAL, "--set", "questions=[]"), "questions: "),
    "no model": (("a.csv", "b.jsonl", "--judge", "openai"), "judge 'openai' needs a setting 'model'"),
    "no key": (("a.csv", "b.jsonl", "--judge", "openai", "--set", "judge.model=m"), "needs a key in the environment"),
    "nobody listens": (
        ("a.csv", "b.jsonl", "--judge", "openai", "--set", "judge.model=m", "--set", "judge.max_retries=0",
         "--set", "judge.base_url=http://127.0.0.1:9/v1"), "no server answers",
    ),
    "no such table": (("a.csv", "none.csv", *LOCAL), "none.csv: there is no such file"),
    "a policy that is damaged": (("a.csv", "broken", *LOCAL), "does not name a backend"),
    "no column of texts": (("a.csv", "b.jsonl", *LOCAL, "--text", "answer"), "a.csv: there is no column 'answer'"),
    "no column of prompts": (("a.csv", "b.jsonl", *LOCAL, "--prompt", "ask"), "a.csv: there is no column 'ask'"),
    "prompts on one side": (("a.csv", "bare.csv", *LOCAL), "bare.csv: has no prompts, and a.csv has"),
    "an empty prompt": (("a.csv", "empty.csv", *LOCAL), "empty.csv: column 'prompt', row 3 holds no text"),
    "an empty text": (("a.csv", "blank.csv", *LOCAL), "blank.csv: column 'text', row 2 holds no text"),
    "no rows": (("a.csv", "nothing.csv", *LOCAL), "nothing.csv: has no row"),
    "other prompts": (("a.csv", "other.csv", *LOCAL), "other.csv: has no text for the prompt 'prompt 0' of a.csv"),
    "fewer texts": (("a.csv", "fewer.csv", *LOCAL), "'prompt 5' has 2 texts in a.csv and 1 in fewer.csv"),
    "fewer rows without prompts": (("bare.csv", "short.csv", *LOCAL), "bare.csv has 12 texts and short.csv 5"),
    "a prompt that is too long": (("long.csv", "long2.csv", *LOCAL), "reads 8192 in all; shorten the prompt"),
    "draws of tables": (("a.csv", "b.jsonl", *LOCAL, "--draws", 3), "--draws: as many texts are drawn as a.csv has"),
    "prompts of tables": (("a.csv", "b.jsonl", *LOCAL, "--prompts", "a.csv"), "--prompts: the prompts are those of a"),
    "a judge without a model": (("a.csv", "b.jsonl", "--judge", "outcome-model"), "needs an outcome model: name a run"),
    "a score without use": (("a.csv", "b.jsonl", *LOCAL, "--score", "x.yaml"), "--score: the judge 'local-lm' uses no"),
    "rows for a judge": (("a.csv", "b.jsonl", *LOCAL, "--data", "a.csv"), "--data holds rows with outcomes"),
    "another folder's files": (("a.csv", "b.jsonl", *LOCAL, "--out", "taken"), "taken: holds files that are not of a"),
    "a file": (("a.csv", "b.jsonl", *LOCAL, "--out", "a.csv"), "a.csv is a file, not a folder"),
    "no judge": (("a.csv", "b.jsonl", "--criterion", "x"), "--criterion is an option of --judge"),
    "no judge and few draws": (("a.csv", "b.jsonl", "--draws", 3), "--draws must be at least 20 without --judge"),
    "a judge's file that is not there": (("a.csv", "b.jsonl", "--judge", "no.yaml"), "no.yaml: there is no such conf"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    a, b = pd.read_csv("a.csv"), pd.read_json("b.jsonl", lines=True)
    b.drop(columns="prompt").to_csv("bare.csv", index=False)
    b.drop(columns="prompt").head().to_csv("short.csv", index=False)
    a.assign(prompt=[*a["prompt"][:2], " ", *a["prompt"][3:]]).to_csv("empty.csv", index=False)
    a.assign(text=["x", None, *a["text"][2:]]).to_csv("blank.csv", index=False)
    a.head(0).to_csv("nothing.csv", index=False)
    a.assign(prompt="else").to_csv("other.csv", index=False)
    a.head(11).to_csv("fewer.csv", index=False)
    for name, word in (("long", "x"), ("long2", "y")):
        pd.DataFrame({"prompt": ["go on " * 1500] * 2, "text": word}).to_csv(f"{name}.csv", index=False)
    Path("broken").mkdir()
    Path("broken/causalopt_backend.json").write_text("{")
    Path("taken").mkdir()
    Path("taken/mine.txt").write_text("mine")
    if kind == "no key":
        monkeypatch.delenv("OPENAI_API_KEY")
    arguments, said = BAD[kind]
    more: tuple[object, ...] = () if "--out" in arguments or kind.startswith("no judge") else ("--out", "out")
    more += () if "--criterion" in arguments or kind.startswith("no judge") else ("--criterion", CRITERION)
    before = sorted(path.as_posix() for path in here.rglob("*"))
    code, out, err = command("compare", *arguments, *more)
    assert code == 2, err
    assert said in err
    assert err.count("error: ") == 1
    assert KEY not in out + err
    after = sorted(path.as_posix() for path in here.rglob("*") if "out" not in path.relative_to(here).parts)
    assert after == before
    kept = {path.name for path in Path("out").glob("*")}
    assert kept <= {"comparison.json", "texts.parquet"}  # of what was finished
    assert not kept or kind in ("nobody listens", "a prompt that is too long")


def test_what_is_not_said_has_no_default(command: Command, server: JudgeServer, here: Path) -> None:
    call = ("compare", "a.csv", "b.jsonl", *LOCAL)
    code, _, err = command(*call)
    assert code == 2
    assert "--judge needs --out" in err
    code, _, err = command(*call, "--out", "out")
    assert code == 2
    assert "by which outcome to compare them is not known: say it with --criterion" in err
    code, _, err = command(*call, "--out", "out", "--set", "questions=[coherence]")
    assert code == 0, err
    code, _, err = command(*call, "--out", "two", "--set", "questions=[coherence]", "--criterion", CRITERION)
    assert code == 2
    assert "which is not among the questions" in err


def test_a_folder_holds_one_comparison_and_one_process(command: Command, server: JudgeServer, here: Path) -> None:
    assert command(*asked(server))[0] == 0
    for more, said in (
        (("--set", "judge.model=other"), "holds another comparison (judge.model is 'other', and was 'm')"),
        (("--seed", "1"), "holds another comparison (seed is 1, and was 0)"),
        (("--pairs", "3"), "holds another comparison (pairs is 3, and was None)"),
    ):
        code, _, err = command(*asked(server, *more))
        assert code == 2
        assert said in err
    code, _, err = command(*asked(server, "--set", "judge.timeout=5"))  # on which no answer depends
    assert code == 0, err
    frame = pd.read_csv("a.csv")
    frame.assign(text="changed").to_csv("a.csv", index=False)
    code, _, err = command(*asked(server))
    assert code == 2
    assert "holds another comparison (a.sha256 is" in err
    frame.to_csv("a.csv", index=False)
    with Path("out/answers.jsonl").open("a") as stream:
        stream.write('{"question": "outcome"}\n')
    code, _, err = command(*asked(server))
    assert code == 2
    assert "out/answers.jsonl: line 49 is not an answer" in err
    import filelock

    with filelock.FileLock(".out.lock"):
        code, _, err = command(*asked(server))
    assert code == 2
    assert "out: another comparison is writing to it" in err


def test_a_malformed_reply_is_one_line(command: Command, server: JudgeServer, here: Path) -> None:
    def odd(handler: Any, shown: Any) -> bool:
        if len(server.received) < 4:
            return False
        reply(handler, 200, b"<html>" + KEY.encode())
        return True

    server.before = odd
    code, out, err = command(*asked(server, "--set", "judge.at_once=1"))
    assert code == 2
    assert "is not a chat completion" in err
    assert KEY not in out + err
    assert len(lines()) == 3
    assert Path("out/texts.parquet").exists()
