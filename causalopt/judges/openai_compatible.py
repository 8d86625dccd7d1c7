"""A language model behind an OpenAI-compatible server as a judge."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from causalopt.doors import check_number
from causalopt.errors import ConfigError, ModelError, one_line
from causalopt.judges.contracts import Pair, Preference
from causalopt.judges.questions import NAMES, Question
from causalopt.signatures import shown

if TYPE_CHECKING:
    import openai

KEY = "OPENAI_API_KEY"
"""Environment variable with the key, which is taken from nowhere else."""
OPENAI = "https://api.openai.com/v1"
LONGEST = 300
"""Characters of a server's own message that an error quotes."""


class OpenAIJudge:
    """Asks ``{base_url}/chat/completions`` which of two texts is preferred.

    The key is read from the environment variable ``OPENAI_API_KEY``; a server of one's own may do without. The client
    library retries what failed for the moment (a lost connection, a time limit, 408, 409, 429 and 5xx), after as long
    as the server's ``Retry-After`` says or else with exponential backoff.

    Parameters
    ----------
    model:
        The model's name there.
    base_url:
        Base address of the server, such as ``http://localhost:8000/v1``.
    temperature:
        Of the answer; None leaves it to the server, as some models demand.
    max_tokens:
        Largest length of an answer; None leaves it to the server. A model that thinks needs room for it.
    timeout:
        Seconds that one request may take.
    max_retries:
        Times that a request is repeated.
    at_once:
        Requests that wait for an answer at the same time.
    options:
        Further fields of the request, such as ``{chat_template_kwargs: {enable_thinking: false}}``.

    Raises
    ------
    ConfigError
        If the package openai or a key is missing, or a setting cannot be used.
    """

    questions = NAMES

    def __init__(
        self,
        model: str,
        base_url: str = OPENAI,
        temperature: float | None = 0.0,
        max_tokens: int | None = None,
        timeout: float = 60.0,
        max_retries: int = 5,
        at_once: int = 8,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not model.strip():
            raise ConfigError("judge.model is empty; name a model of the server")
        check_number("judge.timeout", timeout, above=0)
        check_number("judge.max_retries", max_retries, least=0, whole=True)
        check_number("judge.at_once", at_once, least=1, most=1000, whole=True)
        if temperature is not None:
            check_number("judge.temperature", temperature, least=0)
        if max_tokens is not None:
            check_number("judge.max_tokens", max_tokens, least=1, whole=True)
        _check_url(base_url)
        self.model, self.base_url, self.timeout = model, base_url, timeout
        self.max_retries, self.at_once = max_retries, at_once
        law = {"temperature": temperature, "max_tokens": max_tokens}
        self._body = {name: value for name, value in law.items() if value is not None} | dict(options or {})
        self.identity = {"base_url": base_url, "model": model, **self._body}
        self._key = _key(base_url)
        _library()

    def compare(self, pairs: Sequence[Pair], question: Question) -> Iterator[Preference]:
        if not pairs:
            return
        client = _library().OpenAI(
            api_key=self._key or "none", base_url=self.base_url, timeout=self.timeout, max_retries=self.max_retries
        )
        with ThreadPoolExecutor(self.at_once) as pool:
            asked: dict[Future[str], int] = {}
            try:
                for i, pair in enumerate(pairs):
                    asked[pool.submit(self._ask, client, question.write(*pair))] = i
                failure: BaseException | None = None
                for done in as_completed(asked):
                    if done.cancelled():
                        continue
                    error = done.exception()
                    if error is None:
                        yield Preference(asked[done], question.read(done.result()), done.result())
                    elif failure is None:
                        # Nothing new is asked, and what is being answered now is still kept.
                        failure = error
                        _cancel(asked)
            finally:
                # After an interruption the pool waits for what is being answered, and not for its repetitions.
                _cancel(asked)
                client.close()
            if failure is not None:
                raise failure

    def _ask(self, client: openai.OpenAI, message: str) -> str:
        library = _library()
        try:
            reply = client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": message}], extra_body=self._body
            )
            said = reply.choices[0].message
            text = said.content if said.content is not None else (said.refusal or "")
            if not isinstance(text, str):
                raise TypeError(f"its content is {shown(text)}")
        except library.APIStatusError as error:
            raise self._failed(self._refused(error)) from None
        except library.APITimeoutError:
            raise self._failed(
                f"no answer within {self.timeout:g} s in {self.max_retries + 1} tries; raise judge.timeout"
            ) from None
        except library.APIConnectionError as error:
            cause = one_line(error.__cause__ or error)
            raise self._failed(f"no server answers ({cause}); check judge.base_url") from None
        except (library.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._failed(f"the reply is not a chat completion ({one_line(error)[:LONGEST]})") from None
        return self._without_key(text)

    def _refused(self, error: openai.APIStatusError) -> str:
        body = error.body if isinstance(error.body, dict) else {}
        words = [str(error.status_code), error.response.reason_phrase]
        said = body.get("message")
        if isinstance(said, str) and said.strip():
            words.append(f"({' '.join(said.split())[:LONGEST]})")
        fix = f"; the key is read from {KEY}" if error.status_code in (401, 403) else ""
        return " ".join(filter(None, words)) + fix

    def _failed(self, reason: str) -> ModelError:
        return ModelError(self._without_key(f"judge openai, {self.base_url}, model {self.model!r}: {reason}"))

    def _without_key(self, text: str) -> str:
        """Hide the key in what a server says, which may repeat it."""
        return text if self._key is None else text.replace(self._key, "[key]")


def _library() -> Any:
    try:
        import openai
    except ImportError:
        raise ConfigError("judge openai needs the package openai: pip install 'causalopt[judges]'") from None
    return openai


def _cancel(asked: Mapping[Future[str], int]) -> None:
    for future in asked:
        future.cancel()


def _key(base_url: str) -> str | None:
    """Return the key in the environment; None if there is none and the server is not OpenAI's own."""
    key = os.environ.get(KEY, "").strip()
    if not key:
        if base_url.rstrip("/") == OPENAI:
            raise ConfigError(
                f"judge openai needs a key in the environment variable {KEY}, or judge.base_url of a server without one"
            )
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the environment variable {KEY} holds characters that no key has; set it again")
    return key


def _check_url(base_url: str) -> None:
    """Raise `ConfigError` unless a base address is one of HTTP and holds no secret, which would be recorded."""
    try:
        parts = urlsplit(base_url)
        whole = parts.scheme in ("http", "https") and parts.hostname is not None
        secret = parts.username is not None or parts.password is not None or bool(parts.query)
    except ValueError:
        whole, secret = False, False
    if secret:
        raise ConfigError(f"judge.base_url holds a user, a password or a query; a key is read from {KEY} alone")
    if not whole:
        raise ConfigError(f"judge.base_url must look like http://localhost:8000/v1, not {shown(base_url)}")
