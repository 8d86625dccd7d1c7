"""A server that is compatible with OpenAI's, judges by a rule, counts what it is asked, and misbehaves on demand."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-of-a-test-0123456789"
Shown = tuple[str, str]
"""The two texts of a question, in the order in which it shows them."""


@dataclass
class JudgeServer:
    """Answers with ``rule(first, second)``.

    Attributes
    ----------
    before:
        Called with the handler and the texts before an answer; if it returns true, it has dealt with the request.
    received, answered:
        How often each question was received, and answered in full.
    requests:
        What was received, with its headers and its time.
    """

    url: str = ""
    rule: Callable[[str, str], str] = lambda first, second: "A" if len(first) > len(second) else "B"
    before: Callable[[Any, Shown], bool] = lambda handler, shown: False
    received: Counter[Shown] = field(default_factory=Counter)
    answered: Counter[Shown] = field(default_factory=Counter)
    requests: list[tuple[float, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def completion(text: str | None) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]}
    return json.dumps(whole).encode()


@contextmanager
def serving(server: JudgeServer, port: int = 0) -> Iterator[JudgeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            first, second = re.findall(r"<text>\n(.*?)\n</text>", asked["messages"][0]["content"], re.DOTALL)
            headers = {name.lower(): value for name, value in self.headers.items()}
            with server.lock:
                server.received[first, second] += 1
                server.requests.append((time.monotonic(), headers, asked))
            if server.before(self, (first, second)):
                return
            with server.lock:
                server.answered[first, second] += 1
            reply(self, 200, completion(server.rule(first, second)))

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client was killed, which is what some tests do
                super().handle()

    listening = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{listening.server_address[1]}/v1"
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
