from __future__ import annotations

import pytest


@pytest.fixture
def texts() -> list[str]:
    return [
        "a warm and sunny day",
        "a cold day",
        "the night was so so long and cold",
        "sun",
        "we gave a warm meal to you",
    ]
