"""Two small language models whose texts are drawn exactly, and readers who respond to what a text is about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from causalopt.typing import Float64, Int64

TOPICS, SYNONYMS = 8, 8
TOKENS = TOPICS * SYNONYMS
"""A token is a topic and one of eight ways to say it; only the topic moves readers."""
CONTENT, STYLE = 0.06, 0.2
"""Standard deviations of the policy's changes to the logits of topics and of synonyms, nats."""
LEVEL, EFFECT, CURVATURE, NOISE = 5.0, 12.0, 20.0, 1.0


@dataclass(frozen=True)
class LanguageModel:
    """log p(next token | last token), shape [tokens, tokens], nats; texts begin after token 0."""

    log_prob: Float64

    def sample(self, n: int, length: int, rng: np.random.Generator) -> Int64:
        """Draw ``n`` texts, shape [n, length]."""
        cumulative = np.cumsum(np.exp(self.log_prob), axis=1)
        # Row r of the table lies in [r, r + 1), so that one search in the flat table draws after every token.
        flat = (cumulative / cumulative[:, -1:] + np.arange(TOKENS)[:, None]).ravel()
        texts = np.empty((length, n), dtype=np.int64)
        last = np.zeros(n, dtype=np.int64)
        for position in range(length):
            found = np.searchsorted(flat, last + rng.random(n), side="right")
            last = np.minimum(found - last * TOKENS, TOKENS - 1)
            texts[position] = last
        return texts.T

    def token_log_probs(self, texts: Int64) -> Float64:
        """log p of each token given those before it, shape [n, length], nats."""
        before = np.hstack([np.zeros((len(texts), 1), dtype=np.int64), texts[:, :-1]])
        return np.asarray(self.log_prob[before, texts])


def models() -> tuple[LanguageModel, LanguageModel]:
    """The model that wrote the logged texts, and the policy: a little other content, and another style."""
    rng = np.random.default_rng([3, 0])
    topics, synonyms = 0.7 * rng.standard_normal((TOKENS, TOPICS)), 0.7 * rng.standard_normal((TOKENS, TOKENS))
    wish = np.linspace(-1.0, 1.0, TOPICS) * CONTENT * np.sqrt(3)
    changed = synonyms + STYLE * rng.standard_normal((TOKENS, TOKENS))
    # Topic by topic, and a synonym within its topic, so that style changes no topic's frequency.
    topics = topics[np.arange(TOKENS) // SYNONYMS * SYNONYMS]
    return LanguageModel(_joint(topics, synonyms)), LanguageModel(_joint(topics + wish, changed))


def embedding(texts: Int64) -> Float64:
    """Share of each topic but the last among a text's tokens, shape [n, topics - 1]."""
    topic = texts // SYNONYMS
    return np.stack([(topic == k).mean(axis=1) for k in range(TOPICS - 1)], axis=1)


def dose_response(x: Float64) -> Float64:
    """g of embeddings, shape [n], outcome units: the later topics work best, and a text does well to vary."""
    share = np.column_stack([x, 1 - x.sum(axis=1)])
    return np.asarray(LEVEL + EFFECT * share @ np.linspace(-0.5, 0.5, TOPICS) - CURVATURE * (share**2).sum(axis=1))


def true_value(model: LanguageModel, length: int, texts: int, seed: int) -> tuple[float, float]:
    """Value of a model over ``texts`` draws, and its standard error, outcome units."""
    rng = np.random.default_rng([seed, 4])
    blocks = [min(50_000, texts - start) for start in range(0, texts, 50_000)]
    g = np.concatenate([dose_response(embedding(model.sample(block, length, rng))) for block in blocks])
    return float(g.mean()), float(g.std(ddof=1) / np.sqrt(len(g)))


def _joint(topics: Float64, synonyms: Float64) -> Float64:
    within = log_softmax(synonyms.reshape(TOKENS, TOPICS, SYNONYMS), axis=2)
    return np.asarray((log_softmax(topics, axis=1)[:, :, None] + within).reshape(TOKENS, TOKENS))
