"""`causalopt choose`: rank candidate texts by the policy of a run, with their effects and intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from causalopt import plugins
from causalopt.backends import load_policy
from causalopt.backends.conditional_logit import ConditionalLogitPolicy
from causalopt.data import files
from causalopt.data.choice_sets import ChoiceSets
from causalopt.durable import check_artefact
from causalopt.errors import ConfigError, DataError
from causalopt.nuisance.within_prompts import Readings, WithinPromptEffects, fit_within_prompts
from causalopt.run.config import RunConfig, load_config
from causalopt.run.plan import read_data
from causalopt.run.saved_files import check_saved, read_run_table
from causalopt.typing import Float64

COLUMNS = ("rank", "probability", "score", "ci_low", "ci_high", "readings")
"""What is added to the candidates' prompt and text."""


def choose(run_directory: Path, candidates: Path, *, level: float = 0.95) -> pd.DataFrame:
    """Rank candidates by the policy of a run, within each prompt.

    Parameters
    ----------
    run_directory:
        A finished run whose prompts have candidates of their own (`FiniteBackend`).
    candidates:
        A table with the run's columns of prompts and texts, or with columns ``prompt`` and ``text``. Without a column
        of prompts all rows are candidates of one new prompt.
    level:
        Level of the intervals.

    Returns
    -------
    DataFrame
        A row for each candidate, the prompts in the order of the table and the best candidate first: ``prompt``,
        ``text``; ``rank``, by the policy's ``probability``; ``score``, the predicted outcome of the candidate minus the
        mean over the candidates of its prompt, outcome units, with its interval ``ci_low``, ``ci_high`` (posterior
        quantiles of `causalopt.nuisance.within_prompts.fit_within_prompts` on the training rows, pointwise); and
        ``readings``, the exposure of the same text with the same prompt in the training rows.

    Raises
    ------
    ConfigError
        If this is not a finished run, or its policy does not choose among each prompt's own candidates.
    DataError
        If the table has no such columns, an empty cell or a repeated candidate, or a prompt with one candidate alone.
    """
    if not 0 < level < 1:
        raise ConfigError(f"the level must lie between 0 and 1, not {level}")
    config, policy = _run(run_directory)
    sets, named = _read_candidates(candidates, config)
    seen, known = _seen(run_directory, config)
    effects = _effects(policy, seen, known)
    # The table says what is chosen among, for a prompt of the logs too: the base is uniform over these candidates.
    features = policy.embedding.of(sets.texts)
    chooser = ConditionalLogitPolicy(sets, np.zeros(len(sets)), features, policy.theta, policy.embedding, tune=False)
    readings = _readings_of(sets, seen, known)
    score, sd = effects.contrasts(features, readings, sets.segment)
    half = norm.ppf(0.5 + level / 2) * sd
    frame = pd.DataFrame(
        {
            "prompt": [sets.prompts[c] for c in sets.segment],
            "text": sets.texts,
            "segment": sets.segment,
            "probability": chooser.probability,
            "score": score,
            "ci_low": score - half,
            "ci_high": score + half,
            "readings": readings.exposure * known["weight"].mean(),
        }
    ).sort_values(["segment", "probability"], ascending=[True, False], kind="stable", ignore_index=True)
    frame.insert(2, "rank", frame.groupby("segment").cumcount() + 1)
    return frame.drop(columns=["segment", *([] if named else ["prompt"])])


def _run(run_directory: Path) -> tuple[RunConfig, ConditionalLogitPolicy]:
    check_saved(run_directory)
    if not (run_directory / "metrics.json").is_file():
        raise ConfigError(f"{run_directory}: is not the directory of a finished run (it has no metrics.json)")
    policy = load_policy(run_directory / "policy")
    if not isinstance(policy, ConditionalLogitPolicy):
        raise ConfigError(
            f"{run_directory}: its policy does not choose among each prompt's own candidates: run with data.prompt, "
            "backend: finite and backend.candidates: per_prompt"
        )
    check_artefact(run_directory / "config.yaml")
    return load_config(run_directory / "config.yaml"), policy


def _read_candidates(path: Path, config: RunConfig) -> tuple[ChoiceSets, bool]:
    """Return the candidates of each prompt, and whether the table has a column of prompts."""
    frame = files.read_table(path)
    columns = config.data.columns
    text = next((name for name in (columns.text, "text") if name in frame), None)
    prompt = next((name for name in (columns.prompt, "prompt") if name in frame), None)
    if text is None:
        there = ", ".join(map(str, frame.columns))
        raise DataError(f"{path}: there is no column {columns.text!r} or 'text' of candidates; there are: {there}")
    for name in [text] if prompt is None else [prompt, text]:
        if isinstance(frame[name], pd.DataFrame):
            raise DataError(f"{path}: there are several columns {name!r}; rename all but one")
        empty = frame[name].map(lambda cell: not isinstance(cell, str) or not cell.strip())
        if empty.any():
            raise DataError(f"{path}: column {name!r}, row {int(empty.argmax()) + 1} is empty")
    prompts = [""] * len(frame) if prompt is None else frame[prompt].tolist()
    repeated = frame.assign(**{"": prompts}).duplicated(["", text])
    if repeated.any():
        row = int(repeated.argmax())
        raise DataError(f"{path}: row {row + 1} repeats the candidate {frame[text].iloc[row]!r} of its prompt")
    if frame.empty:
        raise DataError(f"{path}: there is no candidate")
    sets = ChoiceSets.logged(prompts, frame[text].tolist(), np.zeros(len(frame)))
    alone = np.diff(sets.start) == 1
    if alone.any():
        of = "" if prompt is None else f" of the prompt {sets.prompts[int(alone.argmax())]!r}"
        raise DataError(f"{path}: there is a single candidate{of}, and nothing to choose")
    return sets, prompt is not None


def _seen(run_directory: Path, config: RunConfig) -> tuple[ChoiceSets, pd.DataFrame]:
    """Return the candidates of the training rows, and xi, weight and candidate of each row that has an outcome."""
    world = None if config.data.world is None else plugins.worlds.create(config.data.world)
    train, _ = read_data(config, world)
    pseudo = read_run_table(run_directory / "pseudo_outcomes.parquet", ["row", "xi"]).set_index("row")
    # Rows set aside to select the policy are not in the file.
    kept = train.subset(np.isin(train.row, pseudo.index) & train.rated)
    assert kept.prompts is not None
    sets = ChoiceSets.logged(kept.prompts, kept.texts, kept.weight)
    xi = pseudo.loc[kept.row, "xi"].to_numpy(dtype=np.float64)
    return sets, pd.DataFrame({"xi": xi, "weight": kept.weight, "candidate": sets.index_of(kept.prompts, kept.texts)})


def _readings(sets: ChoiceSets, known: pd.DataFrame) -> Readings:
    weight = (known["weight"] / known["weight"].mean()).to_numpy(dtype=np.float64)
    return Readings.of(known["xi"].to_numpy(), weight, known["candidate"].to_numpy(), len(sets))


def _effects(policy: ConditionalLogitPolicy, seen: ChoiceSets, known: pd.DataFrame) -> WithinPromptEffects:
    features: Float64 = policy.features[policy.index_of(seen.texts, [seen.prompts[c] for c in seen.segment])]
    return fit_within_prompts(features, _readings(seen, known), seen.segment)


def _readings_of(sets: ChoiceSets, seen: ChoiceSets, known: pd.DataFrame) -> Readings:
    """Return the readings of candidates in the training rows; none for those that are not there."""
    found = _readings(seen, known)
    prompts = [sets.prompts[c] for c in sets.segment]
    there = np.array(seen.knows(prompts, sets.texts))
    mean, exposure = np.zeros(len(sets)), np.zeros(len(sets))
    if there.any():
        some = np.flatnonzero(there)
        position = seen.index_of([prompts[j] for j in some], [sets.texts[j] for j in some])
        mean[some], exposure[some] = found.mean[position], found.exposure[position]
    return Readings(mean, exposure, 0.0, 0)
