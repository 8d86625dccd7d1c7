"""The design of Lin et al. (2024): an experiment, and a confounded data set for the outcome model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, log_softmax

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.simulation.enumerated import EnumeratedWorld, check_dial, standardised
from causalopt.simulation.sentence_effects import LEVEL, draw_effects
from causalopt.typing import Float64


class ContaminatedWorld(EnumeratedWorld):
    """An experiment on 1,800 sentences, and a second data set whose outcomes are confounded.

    The randomised rows of `sample` show x with probability q(x) to every reader, so that s is 1 and

        Y = g(x) + noise.

    The rows of `sample_outcome_data` have the same q(x), but unrecorded circumstances C in {-1, +1}:

        P(C = 1 | x) = logistic(strength * a(x)),    Y = g(x) + beta * C + noise.

    a(x) is a weighted sum of the sentence's attributes, which are its phrases: minus its standardised effect, so that
    in the second data set effective texts look harmful. A regression on it learns (see `contaminated_mean`)

        E[Y | x] = g(x) + beta * tanh(strength * a(x) / 2),

    whose slope on g is negative at the defaults. With either dial at zero the second data set is not confounded. Fit
    the outcome model on it with ``PseudoOutcomeEstimator.fit_transform(rows, outcome_data=...)``; a run does this by
    itself.

    Parameters
    ----------
    beta:
        Effect of the circumstances, outcome units; with a negative one the second data set exaggerates the effects.
    strength:
        Log-odds of C = 1 for one standard deviation of a(x).
    noise:
        Standard deviation of an outcome about its mean, outcome units.
    interaction:
        Standard deviation of the interaction of appeal and tone, outcome units.
    seed:
        Seed of the phrases' effects and of the preferences for them.

    Raises
    ------
    ConfigError
        If a dial is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.simulation import ContaminatedWorld
    >>> world = ContaminatedWorld(beta=2.0, strength=2.0, seed=0)
    >>> rows, other = world.sample(200, seed=1), world.sample_outcome_data(300, seed=1)
    >>> len(rows), len(other), rows.covariates.shape[1]
    (200, 300, 0)
    >>> bool(np.corrcoef(world.contaminated_mean(world.texts), world.true_dose_response(world.texts))[0, 1] < -0.5)
    True
    """

    def __init__(
        self,
        *,
        beta: float = 2.0,
        strength: float = 2.0,
        noise: float = 1.0,
        interaction: float = 0.1,
        seed: int = 0,
    ) -> None:
        check_dial("contaminated", "beta", beta, -np.inf)
        check_dial("contaminated", "strength", strength, 0)
        check_dial("contaminated", "noise", noise, 0)
        check_dial("contaminated", "interaction", interaction, 0)
        self._effects = effects = draw_effects(interaction, np.random.default_rng([seed, 0]))
        self._beta = beta
        self._circumstances: Float64 = expit(-strength * standardised(effects.of(effects.texts).additive))
        """P(C = 1 | x), shape [k]."""
        super().__init__(
            texts=effects.texts,
            readers=pd.DataFrame(index=range(1)),
            log_assignment=log_softmax(effects.preference)[None, :],
            outcome_mean=self.true_dose_response_of_any(effects.texts)[None, :],
            noise=noise,
            settings={
                "name": "contaminated",
                "beta": beta,
                "strength": strength,
                "noise": noise,
                "interaction": interaction,
                "seed": seed,
            },
        )

    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        return np.broadcast_to(self.log_behavior, (len(covariates), len(self.texts)))

    def true_dose_response_of_any(self, texts: Sequence[str]) -> Float64:
        """g(x) of any texts, sentences of the world or not, shape [n]: see `SentenceEffects.of`."""
        return np.asarray(LEVEL + self._effects.of(texts).total)

    def contaminated_mean(self, texts: Sequence[str]) -> Float64:
        """E[Y | x] in the second data set, shape [n], outcome units."""
        index = self.index_of(texts)
        return np.asarray(self.dose_response[index] + self._beta * (2 * self._circumstances[index] - 1))

    def sample_outcome_data(self, n: int, seed: int) -> DirectOutcomeDataset:
        # A seed with three entries, so that no seed reproduces the rows of `sample`.
        rng = np.random.default_rng([self._settings["seed"], seed, 1])
        _, text, _ = self.sample_indices(n, int(rng.integers(2**63)))
        circumstances = np.where(rng.random(n) < self._circumstances[text], 1.0, -1.0)
        outcome = self.dose_response[text] + self._beta * circumstances + self.noise * rng.standard_normal(n)
        return self.as_data_set(pd.DataFrame({"text": [self.texts[i] for i in text], "response": outcome}))
