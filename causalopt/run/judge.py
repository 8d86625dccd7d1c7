"""`causalopt compare A B --judge NAME`: pairs of texts, a judge's answers, and the win rate of B over A."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import filelock
import pandas as pd
from pydantic import Field

from causalopt import plugins
from causalopt.backends.saved import NOTE
from causalopt.data import files
from causalopt.doors import check_contract
from causalopt.durable import digest, whole, write_text
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.estimators.estimate import Estimate
from causalopt.judges.answers import AnswerFile
from causalopt.judges.asking import ask
from causalopt.judges.contracts import Judge, Pair
from causalopt.judges.questions import COHERENCE, COHERENT, NAMES, OUTCOME, Question, Scale, outcome_criterion
from causalopt.judges.win_rate import WinRate, preferences, win_rate
from causalopt.output import check_new_folder, writing, writing_folder
from causalopt.run.compared_texts import Plan, asked_prompts, pairs_of, read_tables
from causalopt.run.config import read_mapping, set_key, validated
from causalopt.run.generate import config_behind, evaluation_model
from causalopt.run.replacement import run_of
from causalopt.run.settings import NamedPart, Number, Section
from causalopt.signatures import shown

COMPARISON, TEXTS, ANSWERS, RESULT = "comparison.json", "texts.parquet", "answers.jsonl", "judgement.json"
"""Files of a comparison: what is compared and how, the pairs, every raw answer, and what they come to."""
MARK = "causalopt_judgement"
LAYOUT = 1
WORK = (".drawn-a", ".drawn-b")


class JudgeConfig(Section):
    """A judge with its settings, and what it is asked."""

    judge: NamedPart
    questions: list[Literal["outcome", "coherence"]] | None = Field(
        None, min_length=1, description="null: all that the judge can answer"
    )
    criterion: str | None = Field(None, description="the question about the outcome; null: by the run's outcome column")
    scale: Scale = "binary"
    level: Number = Field(0.95, gt=0.5, lt=1)


def judge_config(judge: str, overrides: Iterable[str] = (), **given: Any) -> JudgeConfig:
    """Return the settings of a judge that is given by its name or by a YAML file, with ``a.b=value`` overrides.

    Parameters
    ----------
    judge:
        A registered name, or a file with a section ``judge``.
    overrides, given:
        Later ones replace earlier ones; a value of None leaves the setting as it is.

    Raises
    ------
    ConfigError
        One line that names the key.
    """
    is_file = Path(judge).suffix.lower() in (".yaml", ".yml")
    source = judge if is_file else "--judge"
    raw = read_mapping(Path(judge), (), required="judge") if is_file else {"judge": {"name": judge}}
    for override in overrides:
        set_key(raw, override)
    return validated(JudgeConfig, raw | {key: value for key, value in given.items() if value is not None}, source)


def judge_policies(plan: Plan, config: JudgeConfig, out: Path, *, score: Path | None = None) -> dict[str, Any]:
    """Let a judge compare the texts of two policies, and keep every text and every answer in a folder.

    A call that was interrupted goes on: what has been drawn or answered is not drawn or asked again.

    Parameters
    ----------
    plan:
        The texts.
    config:
        The judge and its questions.
    out:
        A new folder, or one of the same comparison.
    score:
        A run, a configuration or a table for a judge that has a setting ``score``, see `evaluation_model`.

    Returns
    -------
    dict
        The content of ``judgement.json``.

    Raises
    ------
    ConfigError
        If a setting is wrong, or the folder holds another comparison or other files.
    DataError
        If texts or prompts cannot be compared, or a kept file is damaged.
    ModelError
        If a policy or the judge fails; what was finished is kept.
    """
    check_new_folder(out)
    tables = read_tables(plan)
    prompts = asked_prompts(plan, tables)
    judge = _made(config, plan, score)
    questions = _questions(config, judge, plan)
    about = {
        MARK: LAYOUT,
        "a": _source(plan.sources[0]),
        "b": _source(plan.sources[1]),
        "prompts": None if prompts is None else _hash(prompts),
        "draws": plan.draws,
        "pairs": plan.pairs,
        "seed": plan.seed,
        "judge": {"name": config.judge["name"], **judge.identity},
        "questions": [{"name": one.name, "criterion": one.criterion, "scale": one.scale} for one in questions],
    }
    with _claimed(out, about):
        pairs = _pairs(plan, tables, prompts, out)
        kept = AnswerFile(out / ANSWERS, len(pairs))
        for question in questions:
            try:
                ask(judge, pairs, question, kept)
            except ModelError as error:
                raise ModelError(
                    f"{error}; {len(kept.answers):,} answers are kept in {out / ANSWERS}, and the same command goes on"
                ) from error
        found = _result(about, pairs, questions, kept, config.level)
        write_text(out / RESULT, json.dumps(found, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    unread = [f"{name} ({one['answers']} answers)" for name, one in found["questions"].items() if not one["decided"]]
    if unread:
        raise DataError(
            f"{out / ANSWERS}: no pair has two answers that can be read about {' and '.join(unread)}, so there is no "
            "win rate; read the raw answers there"
        )
    return found


def _made(config: JudgeConfig, plan: Plan, score: Path | None) -> Judge:
    """Make the judge; a setting ``score`` that is a path becomes the outcome model fitted there."""
    settings = dict(config.judge)
    takes_score = "score" in inspect.signature(plugins.judges.get(settings["name"])).parameters
    if score is not None and not takes_score:
        raise ConfigError(f"--score: the judge {settings['name']!r} uses no outcome model; leave the option out")
    if takes_score:
        given = settings.get("score") if score is None else str(score)
        if given is None:
            given = next((str(run_of(Path(one))) for one in plan.sources if config_behind(one) is not None), None)
        if given is None:
            raise ConfigError(
                f"the judge {settings['name']!r} needs an outcome model: name a run or a configuration with --score"
            )
        if isinstance(given, str):
            settings["score"] = evaluation_model(Path(given), *plan.sources)
    judge: Judge = plugins.judges.create(settings)
    check_contract("judge", judge, ["questions", "identity", "compare"], "a judge")
    return judge


def _questions(config: JudgeConfig, judge: Judge, plan: Plan) -> list[Question]:
    name = config.judge["name"]
    asked: list[str] = list(dict.fromkeys(config.questions or filter(judge.questions.__contains__, NAMES)))
    for one in asked:
        if one not in judge.questions:
            raise ConfigError(f"the judge {name!r} cannot answer about {one}; it answers: {', '.join(judge.questions)}")
    criteria = {COHERENCE: COHERENT}
    if OUTCOME in asked:
        criteria[OUTCOME] = config.criterion or _default_criterion(plan, judge)
    elif config.criterion is not None:
        raise ConfigError("a criterion is the question about the outcome, which is not among the questions")
    return [Question(one, criteria[one], config.scale) for one in asked]


def _default_criterion(plan: Plan, judge: Judge) -> str:
    """Return the question about the outcome column of the judge's own data, or else of a compared run."""
    outcome, direction = judge.identity.get("outcome"), judge.identity.get("direction")
    run = next(filter(None, map(config_behind, plan.sources)), None)
    if outcome is None and run is not None:
        outcome, direction = run.data.columns.outcome, run.data.direction
    if outcome is None:
        raise ConfigError(
            f"{' and '.join(plan.sources)} belong to no run, so by which outcome to compare them is not known: say it "
            "with --criterion 'Which of the two texts would ...?'"
        )
    return outcome_criterion(str(outcome), str(direction))


def _source(source: str) -> dict[str, Any]:
    """Name a source, with a digest of its file, or of its policy's note."""
    path = Path(source)
    folder = path / "policy" if (path / "policy").is_dir() else path
    known = path if path.is_file() else folder / NOTE
    return {"source": source, "sha256": digest(known) if known.is_file() else None}


def _hash(prompts: list[str]) -> str:
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()


@contextmanager
def _claimed(out: Path, about: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder of a comparison, made if it is not there; what holds nothing in the end goes again.

    Raises
    ------
    ConfigError
        If it holds something else, or another process holds it.
    """
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(out.resolve().with_name(f".{out.resolve().name}.lock")))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise ConfigError(f"{out}: another comparison is writing to it; name another folder with --out") from None
    try:
        was_there = out.is_dir()
        _refuse_other(out, about)
        with writing_folder(out):
            write_text(out / COMPARISON, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        try:
            yield
        finally:
            if {path.name for path in out.iterdir()} <= {COMPARISON, *WORK} and not _drawn_any(out):
                shutil.rmtree(out)
                if was_there:
                    out.mkdir()
    finally:
        # Removed while it is locked, as that of a run is.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _drawn_any(out: Path) -> bool:
    return any(path.is_file() for folder in WORK for path in (out / folder).rglob("*"))


def _refuse_other(out: Path, about: Mapping[str, Any]) -> None:
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        earlier = json.loads((out / COMPARISON).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        earlier = None
    if not isinstance(earlier, dict) or MARK not in earlier:
        raise ConfigError(f"{out}: holds files that are not of a comparison by a judge; name another folder with --out")
    wanted = json.loads(json.dumps(about))
    for key in wanted:
        if earlier.get(key) != wanted[key]:
            what = f"{key} is {shown(wanted[key])}, and was {shown(earlier.get(key))}"
            for inner in wanted[key] if isinstance(wanted[key], dict) and isinstance(earlier.get(key), dict) else ():
                if earlier[key].get(inner) != wanted[key][inner]:
                    what = f"{key}.{inner} is {shown(wanted[key][inner])}, and was {shown(earlier[key].get(inner))}"
                    break
            raise ConfigError(f"{out}: holds another comparison ({what}); name another folder with --out")


def _pairs(plan: Plan, tables: Any, prompts: list[str] | None, out: Path) -> list[Pair]:
    """Return the pairs, which are drawn or read once and then kept."""
    target = out / TEXTS
    if not target.exists():
        pairs = pairs_of(plan, tables, prompts, [out / folder for folder in WORK])
        frame = pd.DataFrame(pairs, columns=["prompt", "a", "b"]).rename_axis("pair").reset_index()
        with whole(target) as partial:
            frame.to_parquet(partial, index=False)
        for folder in WORK:
            shutil.rmtree(out / folder, ignore_errors=True)
    frame = files.read_table(target)
    if list(frame) != ["pair", "prompt", "a", "b"] or frame["pair"].tolist() != list(range(len(frame))):
        raise DataError(f"{target}: is damaged; name another folder with --out")
    prompted = frame["prompt"].notna()
    rows = zip(frame["prompt"], frame["a"], frame["b"], prompted, strict=True)
    return [Pair(str(prompt) if known else None, str(a), str(b)) for prompt, a, b, known in rows]


def _result(
    about: Mapping[str, Any], pairs: list[Pair], questions: list[Question], kept: AnswerFile, level: float
) -> dict[str, Any]:
    rates = {one: win_rate(pairs, preferences(pairs, kept.answers, one.name)) for one in questions}
    return {
        **about,
        "pairs": len(pairs),
        "level": level,
        "questions": {one.name: _of_question(about, one, rate, level) for one, rate in rates.items()},
    }


def _of_question(about: Mapping[str, Any], question: Question, rate: WinRate, level: float) -> dict[str, Any]:
    interval = _interval(rate.win_rate, level)
    return {
        "criterion": question.criterion,
        "scale": question.scale,
        "decided": rate.wins + rate.ties + rate.losses,
        "wins": rate.wins,
        "ties": rate.ties,
        "losses": rate.losses,
        "identical": rate.identical,
        "undecided": rate.undecided,
        "win_rate": {"estimate": None if math.isnan(rate.value) else rate.value, **interval},
        "win_rate_bounds": list(rate.bounds),
        "preference": _of_estimate(rate.preference, level),
        "first_position": _of_estimate(rate.first_position, level),
        "answers": rate.answers,
        "unreadable": rate.unreadable,
        "clustered_by": rate.clustered_by,
        "clusters": rate.clusters,
        "sentences": _sentences(about, question, rate, level),
    }


def _of_estimate(found: Estimate | None, level: float) -> dict[str, float | None]:
    return {"estimate": None if found is None else found.value, **_interval(found, level)}


def _interval(found: Estimate | None, level: float) -> dict[str, float | None]:
    """Return standard error and interval of a share, whose ends lie between 0 and 1."""
    if found is None:
        return {"se": None, "ci_low": None, "ci_high": None}
    low, high = found.confint(level)
    return {"se": found.se, "ci_low": max(low, 0.0), "ci_high": min(high, 1.0)}


def _sentences(about: Mapping[str, Any], question: Question, rate: WinRate, level: float) -> list[str]:
    """Say in words what the numbers show, and what they do not."""
    a, b, judge = about["a"]["source"], about["b"]["source"], about["judge"]["name"]
    decided = rate.wins + rate.ties + rate.losses
    if not decided:
        return [f"No pair has two answers that can be read about {question.name}, so there is no win rate."]
    percent = f"{100 * level:g}%"
    units = f"{decided:,} pairs"
    if rate.clustered_by != "pair":
        units += f", {rate.clusters:,} {rate.clustered_by}{'s' if rate.clusters != 1 else ''}"
    found = []
    if rate.win_rate is None:
        found.append(
            f"{question.name}: {b} wins against {a} at a rate of {rate.value:.3f} in {decided:,} pairs, without an "
            f"interval, which needs two or more {rate.clustered_by}s."
        )
    else:
        ends = _interval(rate.win_rate, level)
        low, high = float(ends["ci_low"] or 0.0), float(ends["ci_high"] or 0.0)
        winner = b if low > 0.5 else a if high < 0.5 else None
        says = f"{judge} prefers {winner}" if winner is not None else f"{judge} shows no preference"
        found.append(
            f"{question.name}: {says}: win rate of {b} {rate.value:.3f} ({percent} interval {low:.3f} to {high:.3f}; "
            f"{units})."
        )
        if rate.win_rate.se == 0:
            others = 1 - (1 - level) ** (1 / rate.clusters)
            found.append(
                f"All pairs ended alike, so the interval has no width; other verdicts in up to {others:.2f} of the "
                f"{rate.clustered_by}s would be compatible with that ({percent})."
            )
    position = _of_estimate(rate.first_position, level)
    if position["ci_low"] is not None and not float(position["ci_low"]) <= 0.5 <= float(position["ci_high"] or 0.0):
        which = "first" if float(position["estimate"] or 0.0) > 0.5 else "second"
        found.append(
            f"{question.name}: {judge} favours the text that is shown {which}: {position['estimate']:.3f} of its "
            f"answers ({percent} interval {position['ci_low']:.3f} to {position['ci_high']:.3f}) are for the first."
        )
    if rate.unreadable:
        low, high = rate.bounds
        found.append(
            f"{rate.unreadable:,} of {rate.answers:,} answers cannot be read, which leaves {rate.undecided:,} pairs "
            f"undecided; whoever had won these, the win rate would lie between {low:.3f} and {high:.3f}."
        )
    return found
