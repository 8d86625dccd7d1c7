"""A base in 4 bits: settings, what is refused, and a fit that starts at its reference and is saved and loaded again."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_policies import TEXTS, dose, logged_texts, make_problem

from causalopt.backends.contracts import Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.errors import ConfigError
from causalopt.objectives.paper import DRCPO

TRAINING = {"max_steps": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantization": {"load_in_8bit": True}}, r"quantization.load_in_8bit cannot be set: its rounding depends"),
        ({"quantization": {"bnb_4bit_compute_dtype": "bfloat16"}}, r"compute_dtype cannot be set: it is float32"),
        ({"quantization": {"load_in_4bits": True}}, r"no setting 'load_in_4bits' \(did you mean 'load_in_4bit'\?\)"),
        ({"quantization": {"load_in_4bit": False}}, r"backend.quantization.load_in_4bit: Input should be True"),
        ({"quantization": {"bnb_4bit_quant_type": "nf5"}}, r"bnb_4bit_quant_type: Input should be 'nf4' or 'fp4'"),
        ({"model": "scratch:tiny", "quantization": {}}, "4-bit weights cannot be trained: name a model"),
        ({"lora": False, "quantization": {}}, "4-bit weights cannot be trained"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HuggingFaceBackend(**{"model": "smollm2", **settings})


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes(reference: HuggingFacePolicy, tmp_path: Path) -> None:
    reference.save(tmp_path)
    backend = HuggingFaceBackend(model=str(tmp_path), quantization={"load_in_4bit": True})
    for use in (
        backend.check,
        lambda: backend.reference(None, TEXTS, np.ones(len(TEXTS)), seed=0, progress=Progress()),
    ):
        with pytest.raises(ConfigError, match=r"needs bitsandbytes: pip install 'causalopt\[quantization\]'"):
            use()


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("tune", [True, False])
def test_a_fit_on_a_base_in_4_bits(reference: HuggingFacePolicy, tmp_path: Path, tune: bool) -> None:
    """The policy starts at the reference (asserted by the trainer), gains, and gives the same numbers once saved."""
    reference.save(tmp_path / "whole")
    backend = HuggingFaceBackend(
        model=str(tmp_path / "whole"),
        training=TRAINING,
        reference={"tune": tune, "training": TRAINING},
        quantization={"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
    )
    backend.check()
    started = backend.reference(None, logged_texts(64), np.ones(64), seed=0, progress=Progress())
    started.save(tmp_path / "reference")
    started = HuggingFacePolicy.load(tmp_path / "reference")
    in_4_bits = [name for name, weight in started.model.named_parameters() if weight.dtype == torch.uint8]
    assert len(in_4_bits) == 14  # seven projections in each of two layers
    assert np.abs(started.log_prob(None, TEXTS) - reference.log_prob(None, TEXTS)).max() > 1e-2
    problem = make_problem(started, n=48)
    policy = backend.fit(problem, DRCPO(), reference=started, seed=0, progress=Progress())
    worth = np.array([dose(text) for text in TEXTS])
    gained = policy.log_prob(None, TEXTS) - started.log_prob(None, TEXTS)
    assert np.corrcoef(gained, worth)[0, 1] > 0.5
    policy.save(tmp_path / "policy")
    loaded = HuggingFacePolicy.load(tmp_path / "policy")
    np.testing.assert_allclose(loaded.log_prob(None, TEXTS), policy.log_prob(None, TEXTS), atol=1e-5)
    assert loaded.sample(None, 5, seed=0) == policy.sample(None, 5, seed=0)
