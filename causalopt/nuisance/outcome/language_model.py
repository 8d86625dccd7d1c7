"""E[Y | x, w] from a fine-tuned language model that reads the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalopt.data.folds import inner_folds
from causalopt.errors import ConfigError, DataError
from causalopt.nuisance.outcome.averaging import mean_over_readers
from causalopt.nuisance.outcome.ridge import RidgeOutcome
from causalopt.nuisance.text_index import TextIndex
from causalopt.typing import Array, Float64, Int64

HELD_OUT = 5
"""One in this many texts is held out of the fine-tuning, to determine the weight of its scores."""
EVIDENCE = 2.0
"""Standard errors by which held-out loss must fall before the language model is used."""
LARGEST_LOG_ODDS = 8.0


class LanguageModelOutcome:
    """A regression on the embedding and the covariates, and a language model on its held-out residuals.

    The regression models the effect of the covariates on the outcome; the language model, with a one-dimensional head
    (`AutoModelForSequenceClassification`), is fine-tuned on what remains:

        regression:  m(x, w) = ridge(x, w) + scale * f(x), by squared error;
        binary:      m(x, w) = expit(logistic(x, w) + scale * f(x)), by the log-likelihood.

    f starts at zero. ``scale`` in [0, 1] is the best multiple on texts held out of the fine-tuning, and 0 if these do
    not show that f helps: a language model that has memorised its texts adds nothing.

    It needs the texts, which `PseudoOutcomeEstimator` passes through ``texts``.

    Parameters
    ----------
    model:
        As for the huggingface backend: ``scratch:tiny``, ``smollm2``, a folder or a hub id.
    outcome:
        "regression", or "binary" for an outcome of two values.
    lora:
        Settings of `peft.LoraConfig`; False trains all weights. ``scratch:tiny`` always does.
    training:
        Settings of `transformers.TrainingArguments`.
    max_length:
        Largest number of tokens of prompt and text; longer ones are cut, with a warning that counts them.
    seed:
        Seed of the folds and of the fine-tuning.

    Raises
    ------
    ConfigError
        If a setting is invalid.

    Examples
    --------
    >>> from causalopt.nuisance.outcome.language_model import LanguageModelOutcome
    >>> LanguageModelOutcome(outcome="class")
    Traceback (most recent call last):
    causalopt.errors.ConfigError: outcome_model.outcome must be regression or binary, not 'class'
    """

    def __init__(
        self,
        model: str = "scratch:tiny",
        outcome: Literal["regression", "binary"] = "regression",
        lora: Mapping[str, Any] | Literal[False] | None = None,
        training: Mapping[str, Any] | None = None,
        max_length: int = 256,
        seed: int = 0,
    ) -> None:
        from causalopt.nuisance.outcome.text_regression import TextRegression

        if outcome not in ("regression", "binary"):
            raise ConfigError(f"outcome_model.outcome must be regression or binary, not {outcome!r}")
        self.binary = outcome == "binary"
        self.regression = TextRegression(model, self.binary, lora, training, max_length, seed)
        self.seed = seed
        self.texts = TextIndex()

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64) -> Self:
        target = self._binary_target(y) if self.binary else y
        offset = self._fit_base(x, w, target, weight, text_id)
        self.unit_ = 1.0 if self.binary else float(np.sqrt(np.average((target - offset) ** 2, weights=weight)))
        self.scale_ = 0.0
        fold = inner_folds(text_id, HELD_OUT, self.seed)
        if fold is None or self.unit_ == 0:
            return self
        train, test = fold != 0, fold == 0
        scaled = target if self.binary else (target - offset) / self.unit_
        start = offset if self.binary else np.zeros(len(y))
        pairs = self.texts.read(text_id)
        kept = [pair for pair, inside in zip(pairs, train, strict=True) if inside]
        self.reader_ = self.regression.fit(kept, start[train], scaled[train], weight[train])
        self.scale_ = self._scale(text_id[test], start[test], scaled[test], weight[test])
        return self

    def predict(self, x: Array, w: Array, text_id: Int64) -> Float64:
        score = self._base(x, w) + self.unit_ * self.scale_ * self._read(text_id)
        return np.asarray(self.low_ + self.range_ * expit(score) if self.binary else score)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64, text_id: Int64) -> Float64:
        return self.marginal_with_error(x, w_reference, weight_reference, text_id)[0]

    def marginal_with_error(
        self, x: Array, w_reference: Array, weight_reference: Float64, text_id: Int64
    ) -> tuple[Float64, Float64]:
        """Mean over readers and its Monte Carlo standard error [n]: zero for a regression, which is additive in f."""
        if self.binary:
            rows = np.column_stack([np.arange(len(x)), x])  # each row's text is identified by its position
            return mean_over_readers(
                lambda row, w: self.predict(row[:, 1:], w, text_id[row[:, 0].astype(np.int64)]),
                rows,
                w_reference,
                weight_reference,
                seed=self.seed,
            )
        base = self.base_.marginal(x, w_reference, weight_reference)
        return base + self.unit_ * self.scale_ * self._read(text_id), np.zeros(len(x))

    def _binary_target(self, y: Float64) -> Float64:
        values = np.unique(y)
        if len(values) != 2:
            raise DataError(f"outcome: binary needs two values; the {len(y)} training rows have {len(values)}")
        self.low_, self.range_ = float(values[0]), float(values[1] - values[0])
        return (y - self.low_) / self.range_

    def _fit_base(self, x: Array, w: Array, target: Float64, weight: Float64, text_id: Int64) -> Float64:
        """Fit the regression without the language model, and return its predictions for held-out rows."""
        if not self.binary:
            self.base_: Any = RidgeOutcome(seed=self.seed).fit(x, w, target, weight, text_id)
            held_out_predictions: Float64 = self.base_.held_out_
            return held_out_predictions
        features = np.hstack([x, w])
        offset = np.full(len(target), logit(np.clip(np.average(target, weights=weight), 1e-3, 1 - 1e-3)))
        fold = inner_folds(text_id, HELD_OUT, self.seed)
        for k in [] if fold is None else range(int(fold.max()) + 1):
            rest, held_out = fold != k, fold == k
            if np.ptp(target[rest]) > 0:
                model = _logistic(features[rest], target[rest], weight[rest])
                offset[held_out] = model.decision_function(features[held_out])
        self.base_ = _logistic(features, target, weight)
        return _bounded(offset)

    def _base(self, x: Array, w: Array) -> Float64:
        if not self.binary:
            return np.asarray(self.base_.predict(x, w))
        return _bounded(self.base_.decision_function(np.hstack([x, w])))

    def _read(self, text_id: Int64) -> Float64:
        return np.zeros(len(text_id)) if self.scale_ == 0 else self.reader_.predict(self.texts.read(text_id))

    def _scale(self, text_id: Int64, start: Float64, target: Float64, weight: Float64) -> float:
        """Best multiple of f on held-out rows among 0, 0.1, ..., 1; 0 unless its gain exceeds the noise."""
        score = self.reader_.predict(self.texts.read(text_id))
        text = np.unique(text_id, return_inverse=True)[1]
        multiples = np.linspace(0, 1, 11)
        loss = np.stack([self._loss(start + multiple * score, target) for multiple in multiples], axis=1)
        gain = weight[:, None] * (loss[:, :1] - loss)
        best = int(np.argmax(gain.sum(axis=0)))
        by_text = np.bincount(text, weights=gain[:, best])
        error = float(np.sqrt(np.sum((by_text - by_text.mean()) ** 2)))
        return float(multiples[best]) if by_text.sum() > EVIDENCE * error else 0.0

    def _loss(self, score: Float64, target: Float64) -> Float64:
        return np.asarray(np.logaddexp(0, score) - target * score if self.binary else (target - score) ** 2)


def _bounded(log_odds: Array) -> Float64:
    bounded: Float64 = np.clip(np.asarray(log_odds, np.float64), -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    return bounded


def _logistic(features: Array, target: Float64, weight: Float64) -> Any:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return model.fit(features, target.astype(np.int64), logisticregression__sample_weight=weight)
