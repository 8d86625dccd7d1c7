"""A world in which readers choose whether to respond, and those who do are not like the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit

from causalopt.simulation.enumerated import check_dial, standardised
from causalopt.simulation.template_world import TemplateWorld
from causalopt.typing import Float64


class VoluntaryFeedbackWorld(TemplateWorld):
    """The readers and sentences of `TemplateWorld`, with outcomes that only some of the readers report.

    A reader of engagement e who was shown sentence x responds with probability

        pi(x, w) = logistic(b + selectivity * e * (1 - a(x))),

    where a(x) is the standardised effect of the sentence and b makes the overall rate ``response``: engaged readers
    respond more, and most of all to sentences that do not work. Since engagement raises the outcome, the mean of those
    who respond is too high, and that of ineffective sentences the most, also where texts are assigned at random. The
    value of a policy is that over all readers, exactly as in `TemplateWorld`.

    Parameters
    ----------
    response:
        Share of the readers who respond, in [0.01, 0.99].
    selectivity:
        Strength of the selection; 0 lets everybody respond at the same rate.
    delta:
        Mean of those who respond minus that of those who do not, for the same sentence and covariates, outcome units.
        At 0 responding does not depend on the response; at other values no method that assumes this is right. The mean
        over both, and with it every true value, does not depend on it.
    confounding, noise, heterogeneity, readers, seed:
        As in `TemplateWorld`.

    Raises
    ------
    ConfigError
        If a dial is out of its range.

    Examples
    --------
    >>> from causalopt.simulation import VoluntaryFeedbackWorld
    >>> world = VoluntaryFeedbackWorld(response=0.3, seed=0)
    >>> data = world.sample(2000, seed=1)
    >>> bool(0.25 < data.observed.mean() < 0.35)
    True
    >>> bool(data.outcome[data.observed].mean() > world.value_of(world.log_behavior) + 0.5)
    True
    """

    def __init__(
        self,
        *,
        response: float = 0.3,
        selectivity: float = 0.7,
        delta: float = 0.0,
        confounding: float = 0.0,
        noise: float = 1.0,
        heterogeneity: float = 0.2,
        readers: int = 400,
        seed: int = 0,
    ) -> None:
        check_dial("voluntary-feedback", "response", response, 0.01, 0.99)
        check_dial("voluntary-feedback", "selectivity", selectivity, 0, 20)
        check_dial("voluntary-feedback", "delta", delta, -np.inf)
        super().__init__(confounding=confounding, noise=noise, heterogeneity=heterogeneity, readers=readers, seed=seed)
        self._delta = delta
        self._selectivity = selectivity
        self._appeal = 1 - standardised(self.dose_response)
        shown = np.exp(self.log_assignment) / len(self.readers)
        log_odds = selectivity * np.outer(self._population.engagement, self._appeal)

        def excess(level: float) -> float:
            return float(np.sum(shown * expit(level + log_odds))) - response

        self._level = float(brentq(excess, -100.0, 100.0, xtol=1e-12))
        self._settings = {
            "name": "voluntary-feedback",
            "response": response,
            "selectivity": selectivity,
            "delta": delta,
            "confounding": confounding,
            "noise": noise,
            "heterogeneity": heterogeneity,
            "readers": readers,
            "seed": seed,
        }

    def true_response_probability(self, texts: Sequence[str], covariates: pd.DataFrame) -> Float64:
        """pi(x_i, w_i) of texts with the covariates of their readers, shape [n]."""
        engagement = covariates["engagement"].to_numpy(dtype=np.float64)
        return np.asarray(expit(self._level + self._selectivity * engagement * self._appeal[self.index_of(texts)]))

    def sample_frame(self, n: int, seed: int, *, logged: bool = False) -> pd.DataFrame:
        """Draw ``n`` rows as a table, with ``observed`` (0 or 1), and no ``response`` in rows where it is 0."""
        frame = super().sample_frame(n, seed, logged=logged)
        pi = self.true_response_probability(frame["text"].tolist(), frame)
        # A seed with three entries, so that no seed reproduces the draws of the rows.
        observed = np.random.default_rng([self._settings["seed"], seed, 2]).random(n) < pi
        # Those who respond have the mean m + delta (1 - pi), the others m - delta pi: together m.
        frame["response"] = (frame["response"] + self._delta * (observed - pi)).where(observed)
        frame["observed"] = observed.astype(np.int64)
        return frame
