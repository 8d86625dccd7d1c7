"""A model behind an OpenAI-compatible server, as a policy that can be drawn from and has no log-probabilities."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from causalopt.backends.saved import name_backend
from causalopt.errors import ModelError
from causalopt.progress import track

SETTINGS = "endpoint.json"


@dataclass(frozen=True)
class EndpointPolicy:
    """Draws texts from ``{url}/chat/completions``.

    Attributes
    ----------
    url, model:
        Base address of the server, such as ``http://localhost:8000/v1``, and the model's name there.
    instruction:
        What the model is asked where the data have no prompts.
    max_tokens, timeout:
        Largest length of an answer, and seconds that a request may take.
    api_key_env:
        Environment variable that holds the key; the key itself is never saved.
    """

    url: str
    model: str
    instruction: str = "Write a text."
    max_tokens: int = 256
    timeout: float = 60.0
    api_key_env: str | None = None

    def log_prob(self, prompts, texts):
        """Zero for every text, shape [n]: a constant of an unknown law, which ratios to this model do not need."""
        return np.zeros(len(texts))

    def sample(self, prompts, n, seed):
        """Draw n texts at temperature 1, each request with a seed of its own."""
        asked = [self.instruction] * n if prompts is None else list(prompts)
        return [self._ask(prompt, 1_000_003 * seed + i) for i, prompt in enumerate(track(asked, "drawing texts"))]

    def _ask(self, prompt, seed):
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": 1.0}
        headers = {"Content-Type": "application/json"}
        if self.api_key_env is not None:
            if not os.environ.get(self.api_key_env):
                raise ModelError(f"backend.endpoint.api_key_env: the variable {self.api_key_env} is not set")
            headers["Authorization"] = f"Bearer {os.environ[self.api_key_env]}"
        if not self.url.startswith(("http://", "https://")):
            raise ModelError(f"backend.endpoint.url must start with http:// or https://, not {self.url!r}")
        content = json.dumps({**body, "max_tokens": self.max_tokens, "seed": seed % 2**31}).encode()
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", content, headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                text = json.load(answer)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            raise ModelError(f"{self.url}: the server answers {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise ModelError(f"{self.url}: no server answers ({error}); check backend.endpoint.url") from None
        except (ValueError, LookupError, TypeError) as error:
            raise ModelError(f"{self.url}: the answer is not a chat completion ({error!r})") from None
        if not isinstance(text, str):
            raise ModelError(f"{self.url}: the answer holds no text (content is {text!r})")
        return text

    def save(self, directory):
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / SETTINGS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        name_backend(directory, "rerank")

    @classmethod
    def load(cls, directory):
        try:
            return cls(**json.loads((Path(directory) / SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{directory}: not the settings of an endpoint ({error!r})") from None
