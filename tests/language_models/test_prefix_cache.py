"""What is kept on disk of a frozen policy: a damaged file counts as missing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_models import model_of

from causalopt.language_models import prefix_cache
from causalopt.language_models.load import trainable_twin
from causalopt.language_models.prefix_cache import kept, kept_ids, weights_digest


@pytest.mark.parametrize("keep", [kept, kept_ids])
def test_a_damaged_file_is_computed_again(keep, tmp_path):
    right = np.array([-1.5, -2.25]) if keep is kept else [[1, 2], []]
    np.testing.assert_equal(keep(tmp_path, ["one"], lambda: right), right)
    np.testing.assert_equal(keep(tmp_path, ["one"], lambda: pytest.fail("it is there")), right)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            file.write_bytes(content)
            np.testing.assert_equal(keep(tmp_path, ["one"], lambda: right), right)
            assert file.read_bytes() == whole


def test_a_weight_that_models_share_is_hashed_once(monkeypatch):
    hashed, count = [], prefix_cache._hash
    monkeypatch.setattr(prefix_cache, "_hash", lambda tensor: hashed.append(tensor.shape) or count(tensor))
    base = model_of("llama")
    first = weights_digest(base)
    assert len(hashed) == len(list(base.parameters()))
    adapted = [trainable_twin(base, {"r": 2, "target_modules": "all-linear"}, seed) for seed in (0, 1)]
    hashed.clear()
    digests = {weights_digest(model) for model in (*adapted, *adapted)}
    assert len(digests) == 2
    assert len(hashed) == 2 * sum("lora" in name for name, _ in adapted[0].named_parameters())
    assert weights_digest(copy.deepcopy(base)) == first  # of the content, not of where it lies
    with torch.no_grad():
        base.get_output_embeddings().weight[3, 5] += 1e-3
    changed = weights_digest(base)
    assert changed != first
    assert changed == weights_digest(copy.deepcopy(base))
    assert weights_digest(adapted[0]) not in digests  # which shares it
