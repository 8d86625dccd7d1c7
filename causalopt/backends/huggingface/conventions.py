"""What a model's chat template does in silence, and which convention logged log-probabilities follow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from textwrap import shorten

import numpy as np

from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.errors import CausalOptWarning, ChatTemplateWarning
from causalopt.language_models.tokenization import TextCodec, Tokenization
from causalopt.messages import as_conversation, read_prompt
from causalopt.signatures import shown
from causalopt.typing import Float64

ROWS = 64
"""Logged rows that are scored to find the convention of their log-probabilities."""
NEAR, NEAR_SHARE = 0.1, 0.01
"""Nats, and share of a log-probability, by which a server that computes in 16 bits may differ from float32."""
MOST = 0.9
"""Smallest share of the rows that must be near for the log-probabilities to follow a convention."""
LONGEST = 200
"""Characters of a system prompt that a warning quotes."""


def warn_of_template(codec: TextCodec, prompts: Sequence[str] | None, decided: bool) -> None:
    """Say how prompts are written, unless the settings say so.

    Parameters
    ----------
    codec:
        Of the policy.
    prompts:
        Of the data; None if there are none.
    decided:
        Whether the settings, and not the data and the tokenizer, decided if the chat template is used.

    Warns
    -----
    ChatTemplateWarning
        If the use of the template was not decided, if it inserts a system prompt of its own, if it opens an answer
        otherwise in a whole conversation, or if conversations are written without a template.
    """
    if prompts is None:
        return
    distinct = list(dict.fromkeys(prompts))
    found = []
    if codec.chat is None:
        messages = sum(read_prompt(prompt) is not None for prompt in distinct)
        if messages:
            found.append(
                f"no chat template is used, so that {messages} prompts that are conversations are plain text to the "
                "model ('User: ...'): name a model with one"
            )
    else:
        if not decided:
            found.append(
                "prompts are written by the model's chat template, and texts end with its "
                f"{codec.tokenizer.decode([codec.end])!r} (backend.chat_template: auto; set it to true or false)"
            )
        own = codec.chat.own_system_prompt if codec.system_prompt is None else None
        without = sum(as_conversation(prompt).messages[0]["role"] != "system" for prompt in distinct)
        if own is not None and without:
            found.append(
                f"the chat template inserts a system prompt of its own into {without} of {len(distinct)} prompts, "
                f"{shorten(own, LONGEST)!r}: set backend.system_prompt to choose it"
            )
        if codec.chat.opening_differs is not None:
            whole, asked = codec.chat.opening_differs
            found.append(
                f"the chat template writes {shown(whole)} before an answer in a whole conversation, and {shown(asked)} "
                "to have one generated; texts are scored after the latter: backend.chat_template_kwargs may change it "
                "(enable_thinking: false)"
            )
    for message in found:
        warnings.warn(message, ChatTemplateWarning, stacklevel=3)


def compare_logged(
    policy: HuggingFacePolicy, prompts: Sequence[str] | None, texts: Sequence[str], log_prob: Float64, seed: int
) -> str:
    """Say whose convention logged log-probabilities follow, by those of a sample of 64 rows under the policy.

    Parameters
    ----------
    policy:
        The model that is taken to have written the logs.
    prompts, texts, log_prob:
        n logged rows with log q(x | c), nats.
    seed:
        Seed of the sample.

    Returns
    -------
    str
        One sentence.

    Warns
    -----
    CausalOptWarning
        If the log-probabilities follow the convention that ``policy`` does not, or neither.
    """
    known = np.flatnonzero(np.isfinite(log_prob))
    rows = np.sort(np.random.default_rng(seed).choice(known, min(ROWS, len(known)), replace=False)).tolist()
    asked = None if prompts is None else [prompts[i] for i in rows]
    own = policy.codec.tokenization
    other: Tokenization = "together" if own == "apart" else "apart"
    sample = [texts[i] for i in rows]
    scored = {own: policy.log_prob(asked, sample)}
    scored[other] = scored[own].copy()
    codec = replace(policy.codec, tokenization=other)
    pairs = zip(policy.codec.encode(asked, sample), codec.encode(asked, sample), strict=True)
    differing = [i for i, (one, another) in enumerate(pairs) if one != another]
    if differing and asked is not None:
        scored[other][differing] = policy.with_codec(codec).log_prob(
            [asked[i] for i in differing], [sample[i] for i in differing]
        )
    logged = log_prob[rows]
    off = {name: np.abs(scores - logged) for name, scores in scored.items()}
    near = {name: int((gap <= np.maximum(NEAR, NEAR_SHARE * np.abs(logged))).sum()) for name, gap in off.items()}
    best = min(near, key=lambda name: (-near[name], off[name].sum()))
    words = {"apart": "prompt and text tokenised apart", "together": "prompt and text tokenised together"}
    if near[best] < MOST * len(rows):
        counts = ", ".join(f"{near[name]} of {len(rows)} with {words[name]}" for name in near)
        sentence = (
            f"the logged log-probabilities are not those of the reference model ({counts}; median difference "
            f"{np.median(off[best]):.2g} nats): another model, prompt template, temperature or end of a text wrote "
            "or scored the logs"
        )
        warnings.warn(sentence, CausalOptWarning, stacklevel=2)
        return sentence
    sentence = (
        f"the logged log-probabilities are those of the reference model in {near[best]} of {len(rows)} rows scored"
    )
    if not differing:
        return sentence
    sentence += f", with {words[best]} (which differs in {len(differing)} rows from the other way)"
    if best != own:
        sentence += f": set backend.tokenization: {best}"
        warnings.warn(sentence, CausalOptWarning, stacklevel=2)
    return sentence
