"""The backend: a model stays as it is, and what is learnt is a score of its texts and how many of them to draw."""

from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV

from causalopt import plugins
from causalopt.backends.inputs import objective_inputs
from causalopt.data.population import DRAWN
from causalopt.embedding import embed
from causalopt.errors import ConfigError
from causalopt_rerank.endpoint import SETTINGS as ENDPOINT
from causalopt_rerank.endpoint import EndpointPolicy
from causalopt_rerank.policy import RerankPolicy

PENALTIES = 10.0 ** np.arange(-3.0, 4.0)


class RerankBackend:
    """Best of n by a score: for models that one can only call, and for a first look at any other.

    Parameters
    ----------
    endpoint:
        Settings of an `EndpointPolicy`: ``{url: http://localhost:8000/v1, model: NAME}``.
    base:
        In its place a backend by name or with settings, whose reference is reranked.
    embedder:
        Embedder of the score: a name, or a mapping with settings.
    most:
        Largest number of texts to draw; 1, 2, 4, ... and this one are tried, and the objective chooses.
    draws:
        Draws behind the distribution of scores, for each prompt.
    """

    population = DRAWN

    def __init__(self, endpoint=None, base=None, embedder="tfidf-svd", most=16, draws=256):
        if (endpoint is None) == (base is None):
            raise ConfigError("backend rerank needs one of 'endpoint' (a server) and 'base' (a backend)")
        if most < 2 or draws < 2:
            raise ConfigError(f"backend.most and backend.draws must be 2 or more, not {most} and {draws}")
        try:
            self.model = None if endpoint is None else EndpointPolicy(**endpoint)
        except TypeError as error:  # a setting that there is not, or no url
            raise ConfigError(f"backend.endpoint: {error}") from None
        self.base = None if base is None else plugins.backends.create(base)
        self.embedder, self.most, self.draws = embedder, most, draws

    def check(self, objectives=(), per_row=1):
        if self.base is None:
            self.model.sample(None, 1, seed=0)
        else:
            self.base.check(objectives, per_row)

    def reference(self, prompts, texts, weight, *, seed, progress):
        if self.base is None:
            return self.model
        return self.base.reference(prompts, texts, weight, seed=seed, progress=progress)

    def fit(self, problem, objective, *, reference, seed, progress, on_checkpoint=None):
        drawn = [text for row in problem.sampled_texts for text in row]
        fitted_on = sorted({*problem.texts, *drawn, *(problem.prompts or ())})
        x = embed(plugins.embedders.create(self.embedder).fit(fitted_on), problem.prompts, problem.texts)
        xi = problem.residual + problem.g
        ridge = RidgeCV(PENALTIES * problem.weight.sum()).fit(x, xi, sample_weight=problem.weight)
        score = {"embedder": self.embedder, "fitted_on": fitted_on, "weights": ridge.coef_.tolist()}
        policy = RerankPolicy(reference, score, 1, self.draws)
        sizes = sorted({*(2**k for k in range(self.most.bit_length())), self.most})
        candidates = [policy.with_n(n) for n in sizes]
        if on_checkpoint is not None:
            best = on_checkpoint.best([on_checkpoint.judge(candidate) for candidate in candidates])
            return reference if best is None else candidates[best]

        def loss(policy):
            inputs = objective_inputs(problem, policy, reference)  # of the whole training set
            return float(objective.given(inputs)(inputs))

        return min(candidates, key=loss)

    @staticmethod
    def load_policy(source, cache):
        return (EndpointPolicy if (Path(source) / ENDPOINT).is_file() else RerankPolicy).load(source)
