"""The reranking plugin, really installed: its own tests, and a run over a real server by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import in_turn
from places import ROOT

PLUGIN = ROOT / "plugins" / "causalopt-rerank"
TEXTS = [f"{verb} {when}" for verb in ("help", "give", "act", "share") for when in ("now", "soon", "please")]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(PLUGIN)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Answer with one of the texts, drawn by the request's seed."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = TEXTS[np.random.default_rng(asked["seed"]).integers(len(TEXTS))]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": text}}]}).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def test_its_own_tests_pass(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_a_model_behind_a_server_from_a_table_to_its_texts(
    environment: dict[str, str], server: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    # Enough that the rows set apart count as more than 30 for the best of four: of 600, they counted as 29.
    frame = pd.DataFrame({"text": rng.choice(TEXTS, 900), "age": rng.normal(size=900)})
    frame["resp"] = 2.0 * frame["text"].str.contains("please") + frame["age"] + 0.3 * rng.normal(size=900)
    frame.to_csv(tmp_path / "log.csv", index=False)
    config = {
        "data": {"path": "log.csv", "outcome": "resp", "covariates": ["age"], "population": {"texts": "fixed"}},
        "outcome_model": "ridge",
        "assignment_model": "randomized",
        # KL(P0 || P) is 0.31 nats for n = 2 and 1.61 for 4: by the default forward_kl neither is clearly better.
        "objective": {"name": "dr_cpo", "kl": 0.05, "forward_kl": 0.0},
        "backend": {"name": "rerank", "endpoint": {"url": server, "model": "writer"}, "most": 4, "draws": 100},
        "samples": {"per_row": 1, "pool": 50},
        "evaluation": {"draws": 50},
    }
    (tmp_path / "rerank.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    checked, _ = in_turn(environment, tmp_path, ("check", "rerank.yaml"), ("run", "rerank.yaml", "--out", "run"))
    assert "ready to run" in checked
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    # The texts of "please" are a third; the best of four is one of them with probability 1 - (2/3)^4 = 0.80.
    assert found["value"]["difference"]["ci_low"] < 2 * (0.80 - 1 / 3) < found["value"]["difference"]["ci_high"]
    assert found["value"]["difference"]["ci_low"] > 0.5
    # A process that knows nothing of the run but its files.
    _, lines = in_turn(
        environment, tmp_path, ("evaluate", "run", "--out", "again.json"), ("generate", "run", "--n", "40")
    )
    assert json.loads((tmp_path / "again.json").read_text())["value"] == found["value"]
    drawn = [json.loads(line)["text"] for line in lines.splitlines()]
    assert np.mean(["please" in text for text in drawn]) > 0.5
