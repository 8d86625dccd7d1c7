"""A model behind an OpenAI-compatible server, as a policy that can be drawn from and has no log-probabilities."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import openai

from causalopt.backends.saved import name_backend
from causalopt.errors import ModelError
from causalopt.progress import track

SETTINGS = "endpoint.json"
AT_ONCE = 8
"""Requests that wait for an answer at the same time."""


@dataclass(frozen=True)
class EndpointPolicy:
    """Draws texts from ``{url}/chat/completions``, with the key in the variable OPENAI_API_KEY where one is needed.

    Attributes
    ----------
    url, model:
        Base address of the server, such as ``http://localhost:8000/v1``, and the model's name there.
    instruction:
        What the model is asked where the data have no prompts.
    max_tokens, timeout:
        Largest length of an answer, and seconds that a request may take.
    """

    url: str
    model: str
    instruction: str = "Write a text."
    max_tokens: int = 256
    timeout: float = 60.0

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> np.ndarray:
        """Zero for every text, shape [n]: a constant of an unknown law, which ratios to this model do not need."""
        return np.zeros(len(texts))

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        """Draw n texts at temperature 1, each by a request with a seed of its own."""
        asked = [self.instruction] * n if prompts is None else list(prompts)
        seeds = [(1_000_003 * seed + i) % 2**31 for i in range(n)]
        key = os.environ.get("OPENAI_API_KEY", "none")  # which a server of one's own does not ask for
        client = openai.OpenAI(base_url=self.url, api_key=key, timeout=self.timeout)
        with client, ThreadPoolExecutor(AT_ONCE) as pool:
            answers = pool.map(lambda prompt, seed: self._ask(client, prompt, seed), asked, seeds)
            return list(track(answers, "drawing texts", total=n))

    def _ask(self, client: openai.OpenAI, prompt: str, seed: int) -> str:
        messages = [{"role": "user", "content": prompt}]
        law = {"temperature": 1.0, "max_tokens": self.max_tokens, "seed": seed}
        try:
            answer = client.chat.completions.create(model=self.model, messages=messages, **law)
            text = answer.choices[0].message.content
        except openai.APIStatusError as error:
            raise ModelError(f"{self.url}: {error.status_code} {error.response.reason_phrase}") from None
        except openai.APIConnectionError as error:
            raise ModelError(f"{self.url}: no server answers ({error.__cause__}); check backend.endpoint.url") from None
        except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(f"{self.url}: the answer is not a chat completion ({error!r})") from None
        if not isinstance(text, str):
            raise ModelError(f"{self.url}: the answer holds no text (content is {text!r})")
        return text

    def save(self, directory: str | Path) -> None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / SETTINGS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        name_backend(directory, "rerank")

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        try:
            return cls(**json.loads((Path(directory) / SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{directory}: not the settings of an endpoint ({error!r})") from None
