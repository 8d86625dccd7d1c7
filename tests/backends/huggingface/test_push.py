"""`push_to_hub`, by huggingface_hub itself to a server on this machine: what arrives is the policy's folder."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from gradients import save_problem
from places import HELPERS
from toy_policies import TEXTS, make_problem

from causalopt.backends.huggingface import HuggingFacePolicy

WORKER = """
import sys
from pathlib import Path
from gradients import load_problem
from causalopt.backends.contracts import Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.objectives.paper import DRCPO

folder = Path(sys.argv[1])
training = {"max_steps": 2, "push_to_hub": True, "hub_model_id": "someone/policy", "hub_strategy": "end"}
backend = HuggingFaceBackend(training={**training, "hub_token": "hf_local"})
reference, problem = HuggingFacePolicy.load(folder / "reference"), load_problem(folder / "problem.json")
policy = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress(folder / "fit"))
policy.save(folder / "policy")
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as an upload of small files needs."""

    requests: list[str]
    files: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.requests.append(self.path)
        endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path.endswith("/repos/create"):
            self.answer({"url": f"{endpoint}/someone/policy", "name": "someone/policy"})
        elif "/preupload/" in self.path:
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"{endpoint}/someone/policy/commit/0", "commitOid": "0" * 40, "success": True})
        else:
            self.answer({})

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.answer({"id": "someone/policy", "sha": "0" * 40, "siblings": [], "name": "someone"})

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> ThreadingHTTPServer:
    Hub.requests, Hub.files = [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.slow
def test_what_is_pushed_is_the_policy(reference: HuggingFacePolicy, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    reference.save(tmp_path / "reference")
    save_problem(make_problem(reference, n=16), tmp_path / "problem.json")
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        env={
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(HELPERS),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr[-3000:]} {Hub.requests}"
    assert any(path.endswith("/repos/create") for path in Hub.requests)
    assert not [path for path in Hub.files if path.startswith((".", "_", "checkpoint-"))]
    for path, content in Hub.files.items():
        target = tmp_path / "pushed" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    pushed, policy = (HuggingFacePolicy.load(tmp_path / name) for name in ("pushed", "policy"))
    np.testing.assert_array_equal(pushed.log_prob(None, TEXTS), policy.log_prob(None, TEXTS))
    assert "made by causalopt" in (tmp_path / "pushed" / "README.md").read_text(encoding="utf-8")
