"""Transformers without its own bars and notes: progress is shown by `causalopt.progress` alone."""

from __future__ import annotations

import logging as log
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence bars and everything below an error while the block runs; what the user had set comes back after it.

    That peft asks transformers for things by names on their way out is not for the user to fix either.
    """
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def changed_settings_expected() -> Iterator[None]:
    """Silence, while the block runs, the note of transformers that a checkpoint was written with other settings.

    A fit is resumed by what determines its result; how often it is saved or logged may change, and needs no remark.
    """
    source = log.getLogger("transformers.trainer_utils")
    source.addFilter(_is_of_something_else)
    try:
        yield
    finally:
        source.removeFilter(_is_of_something_else)


def _is_of_something_else(record: log.LogRecord) -> bool:
    return "do not match the ones in the `trainer_state.json`" not in record.getMessage()
