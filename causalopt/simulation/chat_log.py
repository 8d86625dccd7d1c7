"""Rows of a world as a deployed chat model logs them: messages, a rating, the reader, a log-probability."""

from __future__ import annotations

import json
from typing import Any

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import ConfigError
from causalopt.messages import as_conversation


def chat_log(data: DirectOutcomeDataset) -> str:
    """Return a data set with prompts as JSON Lines, in the order of its rows.

    Returns
    -------
    str
        On each line ``messages`` (the prompt's, and the text as the assistant's), ``rating`` (the outcome), the
        covariates, and ``behavior_log_prob`` (nats) if it is known.

    Raises
    ------
    ConfigError
        If the data have no prompts.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> from causalopt.simulation.chat_log import chat_log
    >>> frame = pd.DataFrame({"prompt": ["Why?", "Who?"], "text": ["So.", "I."], "outcome": [1.0, 2.0]})
    >>> print(chat_log(DirectOutcomeDataset.from_frame(frame, prompt="prompt")).splitlines()[0])
    {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}], "rating": 1.0}
    """
    if data.prompts is None:
        raise ConfigError(f"{data.source}: has no prompts, so that its texts answer nobody; name a world with prompts")
    lines = []
    for i, (prompt, text) in enumerate(zip(data.prompts, data.texts, strict=True)):
        messages = [*as_conversation(prompt).messages, {"role": "assistant", "content": text}]
        row: dict[str, Any] = {"messages": messages, "rating": float(data.outcome[i])}
        row |= {str(name): value for name, value in data.covariates.iloc[i].items()}
        if data.behavior_log_prob is not None:
            row["behavior_log_prob"] = float(data.behavior_log_prob[i])
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)
