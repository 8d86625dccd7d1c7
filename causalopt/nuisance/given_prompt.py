"""Text and reader given the prompt, which is what the assignment given the prompt depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.linear_model import RidgeCV

from causalopt.nuisance import models
from causalopt.nuisance.assignment.sinkhorn import log_sums, margins
from causalopt.nuisance.contracts import AssignmentModel
from causalopt.nuisance.coordinates import PrincipalCoordinates
from causalopt.nuisance.rows import Rows
from causalopt.typing import Array, Embeddings, Float64, Int64

PENALTIES = 10.0 ** np.arange(-5.0, 2.0)
"""Of the regressions on the prompt, in pseudo-rows per row of data."""
OFTEN = 20
"""Fewest rows of a prompt with means and margins of its own."""
REFERENCE = 100
"""Largest number of texts and of readers of a prompt behind its margins."""


@dataclass(frozen=True, eq=False)
class GivenPrompt:
    """Partials the prompt out of the text's embedding and of the covariates (Frisch and Waugh 1933; Robinson 1988).

    The weight s = p(x | c) / p(x | c, w) must not adjust for readers' choice of prompts: they keep them when the policy
    is deployed. An assignment model that is fitted on residuals of text and reader models their dependence
    within a prompt, which is taken to be the same for all prompts. The residuals are differences from the prompt's own
    means if it occurs in 20 rows or more, and from a ridge regression on its embedding otherwise. Without prompts the
    rows are unchanged. No outcome is used, so that the means and the margins of a prompt may be those of all rows, held
    out or not.

    Attributes
    ----------
    rows:
        All rows; x [n, d] holds text and prompt, the latter in the last ``rows.prompt_columns`` columns.
    text, reader:
        Residuals of the text's embedding [n, d - prompt_columns] and of the covariates [n, p].
    often:
        Whether the prompt of a row occurs often enough for means and margins of its own, shape [n].
    """

    rows: Rows
    text: Embeddings
    reader: Array
    often: Array

    @classmethod
    def of(cls, rows: Rows, train: Array) -> Self:
        """Take the residuals of all rows; the regressions are fitted on those of ``train`` [n]."""
        often = np.zeros(len(rows), dtype=bool)
        if rows.prompt_id is None:
            return cls(rows, rows.x, rows.w, often)
        columns = rows.x.shape[1] - rows.prompt_columns
        text, prompt = (
            np.asarray(rows.x[:, part], dtype=np.float64) for part in (slice(columns), slice(columns, None))
        )
        reader = rows.w.astype(np.float64)
        prompt_code = np.unique(rows.prompt_id, return_inverse=True)[1]
        often = np.bincount(prompt_code, weights=rows.weight > 0)[prompt_code] >= OFTEN
        expected_text, expected_reader = _on_prompt(prompt, text, reader, rows.weight, train)
        for asked in np.unique(rows.prompt_id[often]):
            here = rows.prompt_id == asked
            expected_text[here] = np.average(text[here], axis=0, weights=rows.weight[here])
            expected_reader[here] = np.average(reader[here], axis=0, weights=rows.weight[here])
        # x - E[x | c] and w - E[w | c]: the dependence of the two is that of text and reader within a prompt.
        return cls(rows, text - expected_text, reader - expected_reader, often)

    def log_margins(self, model: AssignmentModel, out: Array, rng: np.random.Generator) -> tuple[Float64, Float64]:
        """Return what to add to log s of a fitted model for text and reader of the rows ``out``, nats, shapes [k].

        Given c, the mean of p(x | c, w) / p(x | c) over the readers of the prompt is one for every text, and so is the
        mean over its texts for every reader (see `margins`). A model of the residuals has these margins over all
        prompts together; here each frequent prompt gets its own, from a sample of its rows.
        """
        of_text, of_reader = np.zeros(len(self.text)), np.zeros(len(self.text))
        prompt_id = self.rows.prompt_id
        if prompt_id is None:
            return of_text[out], of_reader[out]
        for asked in np.unique(prompt_id[out & self.often]):
            here = np.flatnonzero(prompt_id == asked)
            counts = here[self.rows.weight[here] > 0]
            sample = counts if len(counts) <= REFERENCE else rng.choice(counts, REFERENCE, replace=False)
            new = here[out[here]]
            known, of_new_texts, of_new_readers = (
                self._log_ratios(model, *pair) for pair in ((sample, sample), (new, sample), (sample, new))
            )
            if not all(np.isfinite(ratios).all() for ratios in (known, of_new_texts, of_new_readers)):
                continue  # weights that are not positive and finite are a failure, whatever their margins
            weight = self.rows.weight[sample]
            log_text, log_reader = margins(known, weight, weight)
            of_text[new] = log_sums(of_new_texts, log_reader)
            of_reader[new] = log_sums(of_new_readers.T, log_text)
        return of_text[out], of_reader[out]

    def _log_ratios(self, model: AssignmentModel, texts: Int64, readers: Int64) -> Float64:
        """log p(x_i | w_k) / p(x_i) of every text with every reader, shape [texts, readers], nats."""
        i, k = np.repeat(texts, len(readers)), np.tile(readers, len(texts))
        s = models.stabilized_weight(model, self.text[i], self.reader[k])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-np.log(s).reshape(len(texts), len(readers)))


def _on_prompt(
    prompt: Float64, text: Float64, reader: Float64, weight: Float64, train: Array
) -> tuple[Float64, Float64]:
    """Ridge regressions of text and reader on the prompt's embedding: predictions for all rows."""
    coordinates = PrincipalCoordinates.of(prompt[train], weight[train])
    u = coordinates.transform(prompt)
    if u.shape[1] == 0:  # a single prompt
        u = np.zeros((len(prompt), 1))
    # Predictors have variance one, so that a pseudo-row a row of data is a penalty of the rows' total weight.
    penalties = PENALTIES * float(weight[train].sum())
    expected = []
    for part in (text, reader):
        ridge = RidgeCV(penalties, alpha_per_target=True).fit(u[train], part[train], sample_weight=weight[train])
        expected.append(ridge.predict(u).reshape(part.shape))
    return expected[0], expected[1]
