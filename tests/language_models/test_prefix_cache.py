"""What is kept on disk of a frozen policy: a damaged file counts as missing."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.language_models.prefix_cache import kept, kept_ids


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
