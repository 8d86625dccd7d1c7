"""What is left of text and reader once the prompt is known: the assignment given the prompt is a law of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.linear_model import RidgeCV

from causalopt.nuisance.coordinates import PrincipalCoordinates
from causalopt.nuisance.rows import Rows
from causalopt.typing import Array, Float64

PENALTIES = 10.0 ** np.arange(-5.0, 2.0)
"""Of the regressions on the prompt, in pseudo-rows per row of data."""


@dataclass(frozen=True, eq=False)
class GivenPrompt:
    """Partials the prompt out of the text's embedding and of the covariates (Frisch and Waugh 1933; Robinson 1988).

    The weight s = p(x | c) / p(x | c, w) must not undo that readers choose their prompts: they keep them wherever the
    policy is deployed. An assignment model that is fitted on the residuals of text and reader, each after a ridge
    regression on the prompt's embedding, sees only what text and reader have to do with each other within a prompt, and
    finds s = 1 where the text was drawn given the prompt alone. That takes their dependence for the same at every
    prompt. Without prompts everything stays as it is.

    Attributes
    ----------
    columns:
        Trailing columns of x that embed the prompt; 0 without prompts.
    coordinates:
        Principal coordinates of the prompts.
    text, reader:
        Regressions of the text's embedding and of the covariates on the coordinates.
    """

    columns: int
    coordinates: PrincipalCoordinates | None = None
    text: Any = None
    reader: Any = None

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """Fit the regressions."""
        if rows.prompt_columns == 0:
            return cls(0)
        text, prompt = _parts(rows.x, rows.prompt_columns)
        coordinates = PrincipalCoordinates.of(prompt, rows.weight)
        u = coordinates.transform(prompt)
        if u.shape[1] == 0:  # a single prompt
            return cls(rows.prompt_columns)
        # Predictors have variance one, so that a pseudo-row a row of data is a penalty of the rows' total weight.
        ridge = RidgeCV(PENALTIES * float(rows.weight.sum()), alpha_per_target=True)
        reader = RidgeCV(PENALTIES * float(rows.weight.sum()), alpha_per_target=True)
        return cls(
            rows.prompt_columns,
            coordinates,
            ridge.fit(u, text, sample_weight=rows.weight),
            reader.fit(u, rows.w, sample_weight=rows.weight),
        )

    def transform(self, x: Array, w: Array) -> tuple[Float64, Float64]:
        """Text [n, d - columns] and reader [n, p] given the prompt; ``x`` embeds text and prompt, [n, d]."""
        text, prompt = _parts(x, self.columns)
        if self.coordinates is None:
            return text, np.asarray(w, dtype=np.float64)
        u = self.coordinates.transform(prompt)
        expected_text = self.text.predict(u).reshape(text.shape)
        expected_reader = self.reader.predict(u).reshape(w.shape)
        # x - E[x | c] and w - E[w | c]: what text and reader have to do with each other within a prompt.
        return text - expected_text, np.asarray(w - expected_reader, dtype=np.float64)


def _parts(x: Array, columns: int) -> tuple[Float64, Float64]:
    x = np.asarray(x, dtype=np.float64)
    return x[:, : x.shape[1] - columns], x[:, x.shape[1] - columns :]
