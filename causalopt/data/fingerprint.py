"""A hash of a frame's content, the same on every machine and with every version of pandas."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd


def fingerprint_frame(frame: pd.DataFrame, *facts: str) -> str:
    """SHA-256 of column names, values and ``facts``, in hexadecimal; the index is ignored.

    Numbers are hashed as float64 and -0 as 0; every string is preceded by its length, so that different tables cannot
    give the same bytes.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.fingerprint import fingerprint_frame
    >>> one = fingerprint_frame(pd.DataFrame({"y": [1.0, 2.0]}))
    >>> one == fingerprint_frame(pd.DataFrame({"y": [1, 2]})), one == fingerprint_frame(pd.DataFrame({"y": [1, 3]}))
    (True, False)
    """
    digest = hashlib.sha256()

    def add(value: str | None) -> None:
        encoded = b"" if value is None else value.encode()
        digest.update((-1 if value is None else len(encoded)).to_bytes(8, "little", signed=True) + encoded)

    for fact in (*facts, str(len(frame))):
        add(fact)
    for name, column in frame.items():
        add(str(name))
        if pd.api.types.is_numeric_dtype(column):
            add("numbers")
            digest.update((column.to_numpy(dtype="<f8", na_value=np.nan) + 0.0).tobytes())
        else:
            add("strings")
            for value, missing in zip(column, column.isna(), strict=True):
                add(None if missing else str(value))
    return digest.hexdigest()
