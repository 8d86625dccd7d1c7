"""`causalopt export`: the policy of a run as a folder for other software, and on a model hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

from causalopt.backends.huggingface.export import Dtype, write_adapter, write_merged
from causalopt.backends.saved import FOR_READERS, backend_of, check_saved
from causalopt.durable import flush_tree
from causalopt.errors import ConfigError, OutputError, one_line
from causalopt.output import check_new_folder, writing
from causalopt.run.card import HEADING, with_evidence
from causalopt.run.replacement import run_of
from causalopt.run.saved_files import check_saved as check_saved_run
from causalopt.run.saved_files import read_run_table

COMPARED = 32
"""Texts on which a merged model is compared with the adapter."""


def export(source: Path, target: Path, *, merge: bool = False, dtype: Dtype = "auto") -> float | None:
    """Write a policy as a folder that other software loads, wherever it is.

    Parameters
    ----------
    source:
        A run, or the folder of a policy.
    target:
        A new folder; it is there when everything is in it.
    merge:
        Whether an adapter is merged into its base (`write_merged`); otherwise it is copied, with a base that is on no
        hub beside it.
    dtype:
        Of the merged weights.

    Returns
    -------
    float or None
        Largest difference of a text's log-probability to the adapter's, nats per token, if it was merged.

    Raises
    ------
    ConfigError
        If the policy is no language model, the target exists, or there is nothing to merge.
    ModelError
        If there is no such policy, or the merged model is not the same distribution.

    Examples
    --------
    >>> from pathlib import Path
    >>> from causalopt.run.export import export
    >>> export(Path("no/such/run"), Path("model"))
    Traceback (most recent call last):
    causalopt.errors.ConfigError: no/such/run: is neither a run nor the folder of a policy
    """
    policy = source / "policy" if (source / "policy").is_dir() else source
    if not policy.is_dir():
        raise ConfigError(f"{source}: is neither a run nor the folder of a policy")
    check_saved_run(source)
    if backend_of(policy) != "huggingface":
        raise ConfigError(
            f"{source}: its policy is of the backend {backend_of(policy)!r} and has no language model's weights to "
            "export; causalopt generate draws from it"
        )
    check_saved(policy)
    check_new_folder(target)
    if target.exists():
        raise ConfigError(f"{target}: already exists; name a new folder")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a command that was killed
    with writing(target):
        try:
            largest = None
            if merge:
                largest = write_merged(policy, partial, *_texts(policy), dtype)
            else:
                write_adapter(policy, partial)
            _copy_evidence(policy / FOR_READERS, partial / FOR_READERS)
            flush_tree(partial)
            os.replace(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return largest


def push(folder: Path, repository: str) -> str:
    """Upload a folder to a model hub, and return its address; the repository is made where there is none.

    Raises
    ------
    OutputError
        If the hub cannot be reached or refuses it.
    """
    try:
        hub = HfApi()
        hub.create_repo(repository, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder))
    except Exception as error:  # of the connection, the hub, the token or the name, each of another library's kind
        raise OutputError(f"{repository}: {folder} was not uploaded: {one_line(error)}") from error


def _texts(policy: Path) -> tuple[Sequence[str] | None, list[str]]:
    """Return texts of the run that a policy belongs to, drawn from it and its reference, or else two sentences."""
    table = run_of(policy) / "samples.parquet"
    if not table.is_file():
        return None, ["A text of a few words.", "Another one, which is a little longer than the first."]
    frame = read_run_table(table, ["prompt", "text"])
    some = frame.iloc[:: max(1, len(frame) // COMPARED)]
    return None if some["prompt"].isna().all() else some["prompt"].tolist(), some["text"].tolist()


def _copy_evidence(card: Path, copy: Path) -> None:
    if card.is_file():
        evidence = card.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[2]
        if evidence:
            own = copy.read_text(encoding="utf-8")
            copy.write_text(with_evidence(own, f"{HEADING}\n{evidence}"), encoding="utf-8")
