"""Python objects that a stage leaves for the process that resumes the run, read back only if this user wrote them."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Any, BinaryIO

import joblib
import platformdirs

from causalopt.durable import whole
from causalopt.errors import OutputError

_SIZE = 32
_CHUNK = 1 << 20
_OF_THIS_PROCESS = secrets.token_bytes(_SIZE)
"""Key where none can be kept: another process then computes the stage again."""


def keep(value: Any, path: Path) -> None:
    """Write an object, and after it a signature: to load a pickle is to run what is in it.

    Nothing is written of an object that cannot be pickled, such as a model of a user's own with a lambda in it: its
    stage is computed again after a kill.
    """
    try:
        with whole(path) as partial, partial.open("w+b") as stream:
            joblib.dump(value, stream)
            signature = _signature(stream, stream.tell())
            stream.write(signature)
    except OutputError:
        raise
    except Exception:  # whatever the object's own methods raise
        path.unlink(missing_ok=True)


def kept(path: Path) -> Any | None:
    """Return an object that `keep` wrote; None if there is none, it is damaged, or it was written elsewhere."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size - _SIZE
            if size < 0:
                return None
            signature = _signature(stream, size)
            if not hmac.compare_digest(stream.read(), signature):
                return None
            stream.seek(0)
            return joblib.load(stream)
    except Exception:  # such as a class that is defined elsewhere now: it is computed again
        return None


def _signature(stream: BinaryIO, size: int) -> bytes:
    """Sign the first ``size`` bytes, and leave the stream behind them."""
    found = hmac.new(_secret(), digestmod="sha256")
    stream.seek(0)
    for start in range(0, size, _CHUNK):
        found.update(stream.read(min(_CHUNK, size - start)))
    return found.digest()


def _secret() -> bytes:
    """Return this user's key on this machine, made when it is first needed."""
    path = platformdirs.user_state_path("causalopt") / "kept.key"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with whole(path) as partial:
                partial.touch(mode=0o600)
                partial.write_bytes(secrets.token_bytes(_SIZE))
        found = path.read_bytes()
    except OSError:
        return _OF_THIS_PROCESS
    return found if len(found) == _SIZE else _OF_THIS_PROCESS
