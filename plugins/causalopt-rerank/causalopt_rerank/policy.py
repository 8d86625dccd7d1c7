"""Best of n draws of a model by a score, and the importance ratio of the texts that it returns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import EnumerablePolicy
from causalopt.backends.saved import load_policy, name_backend
from causalopt.embedding import embed

SETTINGS = "rerank.json"


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

    def with_n(self, n):
        other = RerankPolicy.__new__(RerankPolicy)
        other.__dict__.update(self.__dict__, n=n)
        return other

    def scores(self, prompts, texts):
        """Scores, shape [n]; only their order matters."""
        return embed(self._embedder, prompts, list(texts)).astype(np.float64) @ np.asarray(self.score["weights"])

    def log_ratio(self, prompts, texts):
        """log P(x | c) - log P0(x | c), shape [n], nats."""
        prompts = [None] * len(texts) if prompts is None else list(prompts)
        ratio = np.empty(len(texts))
        for prompt in dict.fromkeys(prompts):
            rows = [i for i, other in enumerate(prompts) if other == prompt]
            scores = self.scores(None if prompt is None else [prompt] * len(rows), [texts[i] for i in rows])
            below, upto = self._distribution(prompt, scores)
            ratio[rows] = np.log((upto**self.n - below**self.n) / (upto - below))
        return ratio

    def _distribution(self, prompt, scores):
        """F-(r) and F(r) of each score, shape [n] each."""
        known, share, own = self._law(prompt)
        cumulative = np.concatenate([[0.0], np.cumsum(share)])
        below = cumulative[np.searchsorted(known, scores, "left")]
        upto = cumulative[np.searchsorted(known, scores, "right")]
        # Of a law that is known by m draws a text is one draw more: its rank among m + 1 is uniform under the model, so
        # that the ratio has mean one exactly, and no text of the model's gets a ratio of zero.
        return (below, upto) if own == 0 else (below * (1 - own), upto * (1 - own) + own)

    def _law(self, prompt):
        """Scores in ascending order, their probabilities, and the share of a text's own draw among them."""
        if prompt not in self._laws:
            if isinstance(self.base, EnumerablePolicy):
                texts, log_prob = self.base.distribution(None if prompt is None else [prompt])
                share, own = np.exp(np.ravel(log_prob)), 0.0
            else:
                asked = None if prompt is None else [prompt] * self.draws
                texts, share = self.base.sample(asked, self.draws, seed=0), np.full(self.draws, 1 / self.draws)
                own = 1 / (self.draws + 1)
            scores = self.scores(None if prompt is None else [prompt] * len(texts), texts)
            order = np.argsort(scores, kind="stable")
            self._laws[prompt] = scores[order], share[order], own
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
        laws = [[prompt, *(list(map(float, part)) for part in law[:2]), law[2]] for prompt, law in self._laws.items()]
        kept = {"score": self.score, "n": self.n, "draws": self.draws, "laws": laws}
        (Path(directory) / SETTINGS).write_text(json.dumps(kept) + "\n", encoding="utf-8")
        name_backend(directory, "rerank")

    @classmethod
    def load(cls, directory):
        kept = json.loads((Path(directory) / SETTINGS).read_text(encoding="utf-8"))
        policy = cls(load_policy(Path(directory) / "base"), kept["score"], kept["n"], kept["draws"])
        policy._laws = {prompt: (np.array(r), np.array(share), own) for prompt, r, share, own in kept["laws"]}
        return policy
