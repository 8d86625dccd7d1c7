"""Files that users name: whether a path can be a file at all, and whole writes whose failure is one line."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from causalopt.errors import CausalOptError, OutputError, one_line


def impossible(path: str | Path) -> str | None:
    r"""Say why a path cannot be the name of any file or folder; None if it can, whether there is one or not.

    Examples
    --------
    >>> from causalopt.output import impossible
    >>> impossible("survey.csv")
    >>> impossible("")
    'the name is empty'
    >>> impossible("survey\0.csv")
    'the name holds a NUL byte'
    """
    if not str(path):
        return "the name is empty"
    if "\0" in str(path):
        return "the name holds a NUL byte"
    try:
        str(path).encode()  # a path is named in files that are UTF-8
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    except OSError as error:  # too long a name, a loop of links, a folder that may not be looked into
        return one_line(error)
    return None


def check_new_file(path: Path) -> None:
    """Raise `OutputError` unless a file can be written at ``path``, by the look of its folder.

    Whether the disk has room shows only at the write.
    """
    reason = impossible(path)
    if reason is None and path.is_dir():
        reason = "is a folder; name a file in it"
    elif reason is None and path.is_symlink() and not path.exists():
        reason = f"is a link to {os.readlink(path)}, which does not exist; remove the link or name another file"
    elif reason is None and path.exists() and not path.is_file():
        reason = "is not a file that can be replaced; name another file"
    elif reason is None:
        reason = _no_folder(path.parent)
    if reason is not None:
        raise OutputError(f"{shown_path(path)}: {reason}")


def check_new_folder(path: Path) -> None:
    """Raise `OutputError` unless a folder could be made at ``path``, or is there and can be written to."""
    reason = impossible(path)
    if reason is None and not path.resolve().name:
        reason = "is the root of the file system; name a folder in it"
    if reason is None and path.is_symlink() and not path.exists():
        reason = f"is a link to {os.readlink(path)}, which does not exist; remove the link or name another folder"
    elif reason is None:
        above = path
        while not above.exists() and above != above.parent:
            above = above.parent
        reason = _no_folder(above)
    if reason is not None:
        raise OutputError(f"{shown_path(path)}: {reason}")


def _no_folder(folder: Path) -> str | None:
    if not folder.exists():
        return f"its folder {folder} does not exist"
    if not folder.is_dir():
        return f"{folder} is a file, not a folder"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"the folder {folder} cannot be written to (no permission)"


def shown_path(path: str | Path) -> str:
    r"""Show a path in a message, on one line; a long one is cut and an empty or unprintable one quoted.

    Examples
    --------
    >>> from causalopt.output import shown_path
    >>> shown_path("survey.csv"), shown_path("a\nb"), len(shown_path("x" * 5000))
    ('survey.csv', "'a\\nb'", 200)
    """
    text = str(path)
    text = text if text and text.isprintable() else repr(text)
    return text if len(text) <= 200 else f"{text[:197]}..."


_UNFINISHED = ("unexpected pos", "iostream error")
"""What torch says of a file that ended before its time, which is all that it knows of a full disk."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn an operating system's error while ``path`` is written into an `OutputError` that names it and the reason.

    Libraries that write weights raise errors of their own kinds; what they say of the operating system is found in
    their text.
    """
    try:
        yield
    except CausalOptError:
        raise
    except OSError as error:
        raise OutputError(f"{shown_path(path)}: cannot be written: {one_line(error)}{_advice(error)}") from error
    except Exception as error:
        said = str(error).lower()
        if "os error" in said or "file write failed" in said:  # safetensors; torch
            raise OutputError(f"{shown_path(path)}: cannot be written: {one_line(error)}") from error
        if any(sign in said for sign in _UNFINISHED):
            raise OutputError(
                f"{shown_path(path)}: cannot be written: torch could not finish a file; make room on that disk, or "
                "name a place on another"
            ) from error
        raise


@contextmanager
def writing_folder(path: Path) -> Iterator[None]:
    """As `writing`, for files in a folder, which is made; where that fails, a folder that was not there goes again."""
    with writing(path):
        was_there = path.exists()
        path.mkdir(parents=True, exist_ok=True)
        try:
            yield
        except BaseException:
            if not was_there:
                shutil.rmtree(path, ignore_errors=True)
            raise


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "; make room on that disk, or name a place on another"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; name a place where you may write"
    return ""
