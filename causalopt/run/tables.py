"""Tables named in a configuration; policies that wrote part of the logs are asked for their log-probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from causalopt.backends.contracts import Policy
from causalopt.data import files
from causalopt.data.columns import Columns
from causalopt.data.conversations import read_conversations
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.logs import read_log
from causalopt.data.messages import split_messages
from causalopt.evaluation.policies import NOT_CALLED
from causalopt.run.named_policies import named_policy
from causalopt.run.rows_config import DataConfig


def read_dataset(path: Path, settings: DataConfig) -> DirectOutcomeDataset:
    """Read a table with the roles of ``settings``.

    A value of ``data.loggers`` that is not a column but a folder is a policy: a run (``runs/first``), a run's reference
    (``runs/first/reference``), or a policy saved elsewhere. Its log-probabilities of the table's texts are computed
    here, so that a round after a deployment pools with the rounds before it.

    Raises
    ------
    DataError
        If the table cannot be used; see `DirectOutcomeDataset.from_frame`.
    ModelError
        If a folder is not a policy.
    """
    roles, columns = settings.roles(), settings.columns
    if settings.format is None:
        frame = files.read_table(path, columns.covariates, settings.dialect)
    else:
        frame = read_log(settings.format, path).frame
    loggers = dict(columns.loggers or {})
    name = str(path)
    if settings.conversation is not None and any(label not in frame.columns for label in loggers.values()):
        # A policy is asked for its log-probabilities of the texts, which are those of whole conversations.
        named = replace(columns, loggers=None)
        frame, name = read_conversations(frame, named, settings.conversation, settings.role, name)
        roles["conversation"] = None
    for label, source in loggers.items():
        if source not in frame.columns and Path(source).is_dir():
            policy = named_policy(source).policy
            assert not isinstance(policy, NOT_CALLED)
            loggers[label] = f"log q of {source}"
            frame[loggers[label]] = _log_prob(policy, frame, columns, settings.tools, name)
    return DirectOutcomeDataset.from_frame(frame, source=name, **{**roles, "loggers": loggers or None})


def limited(data: DirectOutcomeDataset, rows: int | None, seed: int) -> DirectOutcomeDataset:
    """Draw ``rows`` of a table at random, in its order; all of them if there are no more."""
    if rows is None or rows >= len(data):
        return data
    return data.subset(np.sort(np.random.default_rng(seed).choice(len(data), rows, replace=False)))


def _log_prob(policy: Policy, frame: pd.DataFrame, columns: Columns, tools: str | None, source: str) -> pd.Series:
    """Log-probabilities of a table's texts, nats; nan in rows without a text or prompt, which are left out later."""
    named = [name for name in (columns.text, columns.prompt, tools) if name is not None]
    found = pd.Series(np.nan, index=frame.index)
    if set(named) <= set(frame.columns):  # else reading the roles says which column is missing
        frame, prompt = split_messages(frame, columns.text, columns.prompt, source, tools)
        named = [columns.text] if prompt is None else [columns.text, prompt]
        known = frame[named].map(lambda cell: isinstance(cell, str) and bool(cell.strip())).all(axis=1)
        asked = frame.loc[known, named].drop_duplicates()
        prompts = None if prompt is None else asked[prompt].tolist()
        asked = asked.assign(log_prob=policy.log_prob(prompts, asked[columns.text].tolist()))
        scored = frame.loc[known, named].merge(asked, on=named, how="left")["log_prob"]
        found[known] = scored.to_numpy(dtype=np.float64)
    return found
