"""Best of n draws of a model by a score, and the importance ratio of the texts that it returns."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import EnumerablePolicy
from causalopt.backends.saved import load_policy, name_backend
from causalopt.embedding import embed
from causalopt.errors import CausalOptError, ModelError

SETTINGS = "rerank.json"
LAW_SEED = 2_000_003
"""Seed of the draws behind F, which no run draws with: a text that is one of them would count twice."""


class RerankPolicy:
    """Draw ``n`` texts from a model and return the one with the largest score.

    With F the distribution function of the score under the model, given the prompt, and F- its left limit,

        P(x | c) / P0(x | c) = (F(r)^n - F-(r)^n) / (F(r) - F-(r)),

    n F(r)^(n-1) where scores do not tie: the largest of n draws is at r with the probability in the numerator, and ties
    are broken by the order of drawing. The ratio is at most n, and KL(P || P0) at most log n - (n - 1) / n (Beirami
    et al. 2024, "Theoretical guarantees on the best-of-n alignment policy"). No log-probability of the model is needed.

    Parameters
    ----------
    base:
        The model, as a policy.
    score:
        ``embedder`` (a specification), ``fitted_on`` (texts) and ``weights``, shape [d]: r = embedding @ weights.
    n:
        Draws of which the best is returned; 1 is the model itself.
    draws:
        Draws behind F, for each prompt.
    """

    def __init__(self, base, score, n, draws=256):
        self.base, self.score, self.n, self.draws = base, score, n, draws
        self._embedder = plugins.embedders.create(score["embedder"]).fit(score["fitted_on"])
        self._laws = {}
        self._known = {}

    def with_n(self, n):
        other = RerankPolicy.__new__(RerankPolicy)
        other.__dict__.update(self.__dict__, n=n)
        return other

    def scores(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> np.ndarray:
        """Scores, shape [n]; only their order matters."""
        pairs = list(zip([None] * len(texts) if prompts is None else prompts, texts, strict=True))
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if new:
            x = embed(self._embedder, None if prompts is None else [c for c, _ in new], [text for _, text in new])
            scores = x.astype(np.float64) @ np.asarray(self.score["weights"])
            # Each text is scored once: the last bit depends on the batch, and would break its ties with itself.
            self._known.update(zip(new, scores.tolist(), strict=True))
        return np.array([self._known[pair] for pair in pairs])

    def log_ratio(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> np.ndarray:
        """log P(x | c) - log P0(x | c), shape [n], nats."""
        prompts = [None] * len(texts) if prompts is None else list(prompts)
        ratio = np.empty(len(texts))
        for prompt in dict.fromkeys(prompts):
            rows = [i for i, other in enumerate(prompts) if other == prompt]
            scores = self.scores(None if prompt is None else [prompt] * len(rows), [texts[i] for i in rows])
            below, upto = self._distribution(prompt, scores)
            with np.errstate(divide="ignore", invalid="ignore"):  # of a text that the model never writes: the limit
                share = (upto**self.n - below**self.n) / (upto - below)
                ratio[rows] = np.log(np.where(upto > below, share, self.n * upto ** (self.n - 1)))
        return ratio

    def _distribution(self, prompt, scores):
        """F-(r) and F(r) of each score, shape [n] each."""
        texts, share, own = self._law(prompt)
        known = self.scores(None if prompt is None else [prompt] * len(texts), texts)
        order = np.argsort(known, kind="stable")
        known, cumulative = known[order], np.concatenate([[0.0], np.cumsum(np.asarray(share)[order])])
        below = cumulative[np.searchsorted(known, scores, "left")]
        upto = cumulative[np.searchsorted(known, scores, "right")]
        # Of a law that is known by m draws a text is one draw more: its rank among m + 1 is uniform under the model, so
        # that the ratio has mean one exactly, and no text of the model's gets a ratio of zero.
        return (below, upto) if own == 0 else (below * (1 - own), upto * (1 - own) + own)

    def _law(self, prompt):
        """Texts of the model, their probabilities, and the share of a text's own draw among them."""
        if prompt not in self._laws:
            if isinstance(self.base, EnumerablePolicy):
                texts, log_prob = self.base.distribution(None if prompt is None else [prompt])
                share, own = np.exp(np.ravel(log_prob)), 0.0
            else:
                asked = None if prompt is None else [prompt] * self.draws
                texts, share = self.base.sample(asked, self.draws, seed=LAW_SEED), np.full(self.draws, 1 / self.draws)
                own = 1 / (self.draws + 1)
            self._laws[prompt] = list(texts), share, own
        return self._laws[prompt]

    def log_prob(self, prompts, texts):
        return np.asarray(self.base.log_prob(prompts, texts)) + self.log_ratio(prompts, texts)

    def sample(self, prompts, n, seed):
        asked = None if prompts is None else [prompt for prompt in prompts for _ in range(self.n)]
        drawn = self.base.sample(asked, n * self.n, seed)
        best = self.scores(asked, drawn).reshape(n, self.n).argmax(axis=1)  # the first of equal ones
        return [drawn[i * self.n + int(j)] for i, j in enumerate(best)]

    def save(self, directory):
        self.base.save(Path(directory) / "base")
        laws = [
            [prompt, texts, list(map(float, share)), own, [self._known[prompt, text] for text in texts]]
            for prompt, (texts, share, own) in self._laws.items()
        ]
        kept = {"score": self.score, "n": self.n, "draws": self.draws, "laws": laws}
        (Path(directory) / SETTINGS).write_text(json.dumps(kept) + "\n", encoding="utf-8")
        name_backend(directory, "rerank")

    @classmethod
    def load(cls, directory):
        try:
            kept = json.loads((Path(directory) / SETTINGS).read_text(encoding="utf-8"))
            policy = cls(load_policy(Path(directory) / "base"), kept["score"], kept["n"], kept["draws"])
            for prompt, texts, share, own, scores in kept["laws"]:
                policy._laws[prompt] = texts, np.array(share), own
                policy._known.update(zip([(prompt, text) for text in texts], scores, strict=True))
        except CausalOptError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{directory}: not a policy of the backend rerank ({error!r})") from None
        return policy
