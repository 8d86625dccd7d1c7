"""Which of texts and prompts are a sample, and which are all that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from causalopt.errors import ConfigError

Origin = Literal["drawn", "fixed"]


@dataclass(frozen=True)
class Population:
    """What a value is a value over; the data cannot tell, the use does.

    A language model writes texts that nobody has seen, so the logged texts are a sample: ``drawn``. A choice among
    known candidates is about these very texts: ``fixed``. Readers who repeat are a sample always. What is drawn is what
    errors are clustered by, and rows are split by.

    Attributes
    ----------
    texts:
        Whether the logged texts are a sample of those that might be written.
    prompts:
        Whether the logged prompts are a sample of those that might be asked.

    Examples
    --------
    >>> from causalopt.data.population import FIXED
    >>> FIXED.sentence()
    'The texts are fixed: the value is of these very texts.'
    """

    texts: Origin = "drawn"
    prompts: Origin = "drawn"

    def __post_init__(self) -> None:
        for name, origin in (("texts", self.texts), ("prompts", self.prompts)):
            if origin not in get_args(Origin):
                raise ConfigError(f"population.{name} must be 'drawn' or 'fixed', not {origin!r}")

    def sentence(self, prompts: bool = False) -> str:
        """Say it in words; ``prompts`` tells whether there are any."""
        drawn = self.texts == "drawn"
        texts = "a sample of those that might be written" if drawn else "fixed: the value is of these very texts"
        if not prompts:
            return f"The texts are {texts}."
        asked = "a sample of those that might be asked" if self.prompts == "drawn" else "fixed"
        return f"The prompts are {asked}; the texts are {texts}."


DRAWN = Population()
"""Of a policy that writes texts."""
FIXED = Population("fixed", "fixed")
"""Of a policy that chooses among known texts for known prompts."""
