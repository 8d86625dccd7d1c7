"""The command line in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

IN_TURN = """
import json, sys
from causalopt.cli.main import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["causalopt", *command]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    print(end="\\0", flush=True)
"""


def in_turn(environment: Mapping[str, str], folder: Path, *commands: Sequence[str]) -> list[str]:
    """Return what each command prints; one new process, which imports the packages once, takes them in turn."""
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(commands)],
        env=environment,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0")[:-1]
