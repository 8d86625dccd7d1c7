"""Transformers, silenced where it speaks of what is no matter of the user's."""

from __future__ import annotations

import logging
from types import SimpleNamespace

from transformers.trainer_utils import compare_trainer_and_checkpoint_args

from causalopt.language_models.quiet import changed_settings_expected


def test_a_checkpoint_of_other_settings_is_not_remarked_on():
    heard = []
    handler, source = logging.Handler(), logging.getLogger("transformers.trainer_utils")
    handler.emit = lambda record: heard.append(record.getMessage())
    source.addHandler(handler)
    state = SimpleNamespace(logging_steps=1, eval_steps=1, save_steps=500, train_batch_size=8)
    try:
        for saved in (2, 3):
            args = SimpleNamespace(
                logging_steps=1, eval_steps=1, save_steps=saved, per_device_train_batch_size=8, n_gpu=1
            )
            if saved == 2:
                with changed_settings_expected():
                    compare_trainer_and_checkpoint_args(args, state)
                    source.warning("another matter")
            else:
                compare_trainer_and_checkpoint_args(args, state)  # elsewhere it is heard
    finally:
        source.removeHandler(handler)
    assert len(heard) == 2
    assert heard[0] == "another matter"
    assert "save_steps" in heard[1]
