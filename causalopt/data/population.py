"""Whether texts and prompts are a sample or the whole population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from causalopt.doors import check_choice

Origin = Literal["drawn", "fixed"]


@dataclass(frozen=True)
class Population:
    """The population that a value refers to; it follows from the use of the value, not from the data.

    A language model writes texts that nobody has seen, so the logged texts are a sample: ``drawn``. A choice among
    known candidates concerns these texts only: ``fixed``. Readers with several rows are always a sample. Standard
    errors are clustered, and rows are split, by what is drawn.

    Attributes
    ----------
    texts:
        Whether the logged texts are a sample of those that might be written.
    prompts:
        Whether the logged prompts are a sample of those that might be posed.

    Examples
    --------
    >>> from causalopt.data.population import FIXED
    >>> FIXED.sentence()
    'The texts are fixed: the value refers to these texts only.'
    """

    texts: Origin = "drawn"
    prompts: Origin = "drawn"

    def __post_init__(self) -> None:
        for name, origin in (("texts", self.texts), ("prompts", self.prompts)):
            check_choice(f"population.{name}", origin, get_args(Origin))

    def sentence(self, prompts: bool = False) -> str:
        """Describe the population in a sentence; ``prompts`` is whether the data have prompts."""
        drawn = self.texts == "drawn"
        texts = "a sample of those that might be written" if drawn else "fixed: the value refers to these texts only"
        if not prompts:
            return f"The texts are {texts}."
        if (self.texts, self.prompts) == ("fixed", "drawn"):
            return (
                "The prompts are a sample of those that might be asked, each with candidate texts of its own: the "
                "value refers to a choice among these."
            )
        asked = "a sample of those that might be asked" if self.prompts == "drawn" else "fixed"
        return f"The prompts are {asked}; the texts are {texts}."


DRAWN = Population()
"""For a policy that writes texts."""
FIXED = Population("fixed", "fixed")
"""For a policy that chooses among known texts for known prompts."""
CHOICE = Population("fixed", "drawn")
"""For a policy that chooses among the candidates of each prompt, of which new ones come."""
