"""`causalopt generate`: texts of a policy for a table of prompts, with what they are predicted to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from causalopt import plugins
from causalopt.backends import load_policy
from causalopt.backends.contracts import Policy
from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.data import files
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.messages import as_prompts
from causalopt.durable import whole
from causalopt.errors import ConfigError, DataError
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.run.config import RunConfig, load_config
from causalopt.run.evaluate import config_of, refuse_rows_seen_by
from causalopt.run.plan import build_nuisances, read_data, read_outcome_rows, resolve
from causalopt.run.replacement import run_of
from causalopt.run.tables import read_dataset
from causalopt.simulation.contracts import SimulatedWorld

Writer = Callable[[pd.DataFrame, Path], None]
WRITERS: dict[str, Writer] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".jsonl": lambda frame, path: frame.to_json(
        path, orient="records", lines=True, force_ascii=False, double_precision=15
    ),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


def read_prompts(table: Path, column: str | None, source: str) -> list[str]:
    """Return the prompts of a table, in its order.

    Parameters
    ----------
    table:
        Of any kind that `causalopt.data.files` reads; a prompt may be a list of messages.
    column:
        Its column of prompts; None for the one that the policy's run calls so if the table has it, else ``prompt``.
    source:
        The policy.

    Raises
    ------
    DataError
        If there is no such column, no row, or an empty prompt.
    """
    frame = files.read_table(table)
    if column is None:
        config = config_behind(source)
        named = None if config is None else config.data.columns.prompt
        column = named if named is not None and named in frame else "prompt"
    if column in frame.columns and frame.columns.is_unique:
        frame = frame.assign(**{column: as_prompts(frame[column].tolist(), f"{table}: column {column!r}")})
    files.check_texts(frame, [column], str(table))
    if frame.empty:
        raise DataError(f"{table}: has no row, and so no prompt")
    return [str(prompt) for prompt in frame[column]]


def draw_texts(
    source: str,
    prompts: Sequence[str] | None,
    n: int,
    seed: int,
    *,
    reference: bool = False,
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
    work: Path | None = None,
    asked_in: str = "the prompts",
) -> pd.DataFrame:
    """Draw texts from a policy.

    Parameters
    ----------
    source:
        A run, the folder of a policy, or the name of a model.
    prompts:
        None for a policy without prompts.
    n, seed:
        Texts for each prompt; the same seed gives the same texts.
    reference:
        Whether the run's reference is asked in place of its policy.
    temperature, max_new_tokens:
        See `HuggingFacePolicy.draw` and `HuggingFacePolicy.with_limits`; the policy itself by default.
    work:
        Folder where batches are kept as soon as they are drawn, for a call that goes on after this one was killed.
    asked_in:
        Where the prompts are from, for messages.

    Returns
    -------
    DataFrame
        A row for each text: ``row``, the position of its prompt (if there are prompts), ``prompt``, ``draw`` from 0 to
        n - 1, ``text``, and the ``temperature``.

    Raises
    ------
    ConfigError
        If the source has no reference, or its policy no temperature.
    DataError
        If a prompt leaves no room for a text.
    """
    policy = load_policy(_folder_of(source, reference), cache=work)
    if isinstance(policy, HuggingFacePolicy):
        _check_room(policy, prompts, asked_in)
        if max_new_tokens is not None:
            policy = policy.with_limits(max_new_tokens)
            policy.cache = work
    elif temperature != 1 or max_new_tokens is not None:
        raise ConfigError(f"{source}: chooses among known texts, and has neither --temperature nor --max-new-tokens")
    config = config_behind(source)
    if prompts is None and config is not None and config.data.columns.prompt is not None:
        raise ConfigError(f"{source}: its policy answers prompts; give a table of them with --prompts")
    repeated = None if prompts is None else [prompt for prompt in prompts for _ in range(n)]
    total = n if repeated is None else len(repeated)
    frame = pd.DataFrame({"prompt": repeated, "draw": [i % n for i in range(total)]}, index=range(total))
    frame["text"] = _draw(policy, repeated, total, seed, temperature)
    frame["temperature"] = temperature
    if prompts is not None:
        frame.insert(0, "row", [i // n for i in range(total)])
    return frame


def evaluation_model(spec: Path, *sources: str) -> PseudoOutcomes:
    """Fit the nuisances on rows that no policy was trained on, and on nothing else.

    Parameters
    ----------
    spec:
        A run or a configuration, whose test rows are used, or a table with the columns of a policy's run.
    sources:
        The policies whose texts are to be scored.

    Raises
    ------
    ConfigError
        If a table is given, and no policy is of a run.
    DataError
        If a policy was trained on these rows or selected with them.
    """
    outcome_data: DirectOutcomeDataset | None = None
    if spec.is_dir() or spec.suffix.lower() in (".yaml", ".yml"):
        config = config_of(spec) if spec.is_dir() else resolve(load_config(spec))
        world: SimulatedWorld | None = None if config.data.world is None else plugins.worlds.create(config.data.world)
        rows, outcome_data = read_data(config, world)[1], read_outcome_rows(config, world).test
    else:
        known = next(filter(None, map(config_behind, sources)), None)
        if known is None:
            raise ConfigError(
                f"{' and '.join(sources)}: is no run, so the columns of {spec} are not known; give --score a "
                "configuration or a run"
            )
        config, rows = known, read_dataset(spec, known.data)
    for own in dict.fromkeys(run_of(Path(source)) for source in sources):
        if spec.resolve() != own.resolve():
            refuse_rows_seen_by(rows, [own], f"give --score {own} for the test rows of the run")
    return build_nuisances(config).fit_transform(rows, outcome_data=outcome_data)


def predicted(model: PseudoOutcomes, frame: pd.DataFrame, source: str) -> pd.Series:
    """Return g of the texts: what each is predicted to do on average over all readers of the model's rows.

    Every text is read by the same readers, those of all prompts, so that texts can be compared with each other; a
    prompt need not be among the rows. What a deployment gains is another question, see `causalopt evaluate`.

    Parameters
    ----------
    model:
        From `evaluation_model`.
    frame:
        From `draw_texts`.
    source:
        Of the policy, for the message.

    Returns
    -------
    Series
        In outcome units, shape [k].

    Raises
    ------
    ConfigError
        If the outcome model needs prompts, and there are none.
    """
    prompts = None
    if model.dataset.prompts is not None:
        if frame["prompt"].isna().any():
            raise ConfigError(
                f"{source}: the outcome model of --score reads prompts; give a table of them with --prompts"
            )
        prompts = frame["prompt"].tolist()
    fitted, texts = model.fitted(), frame["text"].tolist()
    g = fitted.cross_fit.dose_response(fitted.embed(prompts, texts), fitted.index.ids(prompts, texts))
    return pd.Series(g, index=frame.index)


def check_table(out: Path) -> None:
    """Raise `ConfigError` unless a new table can be written in the format that a path's ending names."""
    if out.suffix.lower() not in WRITERS:
        raise ConfigError(f"{out}: ends in {out.suffix or 'nothing'}; a table ends in {', '.join(WRITERS)}")
    if out.exists():
        raise ConfigError(f"{out}: already exists; name another file with --out")


def write_table(frame: pd.DataFrame, out: Path) -> None:
    """Write a table whole, and remove what was kept to go on after an interruption."""
    with whole(out) as partial:
        WRITERS[out.suffix.lower()](frame, partial)
    shutil.rmtree(work_of(out), ignore_errors=True)


def work_of(out: Path) -> Path:
    """Folder beside a table with the texts that were drawn for it before a command was killed."""
    return out.with_name(f".{out.name}.drawn")


def _draw(policy: Policy, prompts: Sequence[str] | None, n: int, seed: int, temperature: float) -> list[str]:
    if isinstance(policy, HuggingFacePolicy):
        return policy.draw(prompts, n, seed, temperature=temperature)
    return policy.sample(prompts, n, seed)


def _check_room(policy: HuggingFacePolicy, prompts: Sequence[str] | None, asked_in: str) -> None:
    codec = policy.for_prompts(prompts).codec
    heads = [] if prompts is None else codec.encode_prompts(prompts, len(prompts))
    for row, head in enumerate(heads, start=1):
        if len(head) + 1 >= codec.max_length:
            raise DataError(
                f"{asked_in}: the prompt in row {row} has {len(head)} tokens, which leaves no room for a text: the "
                f"policy reads {codec.max_length} in all; shorten it"
            )


def _folder_of(source: str, reference: bool) -> str:
    folder = Path(source)
    if reference:
        if not (run_of(folder) / "reference").is_dir():
            raise ConfigError(f"{source}: is no run, and has no reference; leave --reference out")
        return str(run_of(folder) / "reference")
    return str(folder / "policy") if (folder / "metrics.json").exists() else source


def config_behind(source: str) -> RunConfig | None:
    """Return the configuration of the run that a policy belongs to; None if it belongs to none."""
    run = run_of(Path(source))
    return config_of(run) if (run / "config.yaml").is_file() else None
