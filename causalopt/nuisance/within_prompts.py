"""Effects of texts within their prompts: a mixed model with a baseline for each prompt and an effect of each text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.sparse import csr_array

from causalopt.errors import DataError
from causalopt.typing import Float64, Int64

PRIOR_LOG_ODDS, PRIOR_SPREAD = np.log(1 / 3), 2.0
"""Prior of the log-odds of tau^2 / (tau^2 + sigma^2 / mean exposure): a share of a quarter, known within a factor."""
BOUND = 12.0
"""Largest change of a log variance in the search; a variance at its lower end is zero to six digits."""


@dataclass(frozen=True, eq=False)
class Readings:
    """What was read of N texts, each with its prompt, in outcome units.

    Attributes
    ----------
    mean, exposure:
        Weighted mean outcome and total weight of each text, shape [N]; the mean of a text without readings is ignored.
    within, spare:
        Weighted sum of squared deviations from these means, and its degrees of freedom.
    """

    mean: Float64
    exposure: Float64
    within: float
    spare: int

    @classmethod
    def of(cls, outcome: Float64, weight: Float64, text: Int64, texts: int) -> Readings:
        """Summarise rows: outcome, weight and position of the text among ``texts``, shape [n]."""
        exposure = np.bincount(text, weights=weight, minlength=texts).astype(np.float64)
        total = np.bincount(text, weights=weight * outcome, minlength=texts)
        mean = np.divide(total, exposure, out=np.zeros(texts), where=exposure > 0)
        rows = int((weight > 0).sum())
        within = float(weight @ (outcome - mean[text]) ** 2)
        return cls(mean, exposure, within, rows - int((exposure > 0).sum()))


@dataclass(frozen=True, eq=False)
class WithinPromptEffects:
    """Posterior of the effects of texts in the model that `fit_within_prompts` describes.

    Attributes
    ----------
    coefficients, covariance:
        Posterior mean [d] and covariance [d, d] of beta, outcome units.
    text_variance:
        tau^2, the variance of the effects of texts that the features miss, squared outcome units.
    noise_variance:
        sigma^2, the variance of one unit of exposure, squared outcome units.
    """

    coefficients: Float64
    covariance: Float64
    text_variance: float
    noise_variance: float

    def text_effects(self, features: Float64, readings: Readings, prompt: Int64) -> Float64:
        """Posterior mean of u, the effect of each text that its features miss, shape [N], outcome units."""
        inverse = self._inverse_variance(readings.exposure)
        left = readings.mean - features @ self.coefficients
        return self.text_variance * inverse * (left - _prompt_means(left, inverse, prompt))

    def contrasts(self, features: Float64, readings: Readings, prompt: Int64) -> tuple[Float64, Float64]:
        """Effect of each text minus the mean over the texts of its prompt, and its posterior standard deviation.

        Given beta, the effects of a prompt's texts are eta = Z beta + u with u | y normal around T (y - Z beta), where
        T = tau^2 M, M = H - H 1 1' H / 1' H 1 and H = diag(1 / (tau^2 + sigma^2 / n)): texts with many readings are
        judged by them, texts without any by their features.

        Returns
        -------
        effect, sd:
            Shape [N], outcome units.
        """
        effect, sd = np.zeros(len(prompt)), np.zeros(len(prompt))
        inverse = self._inverse_variance(readings.exposure)
        order = np.argsort(prompt, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(prompt[order])) + 1):
            k, h = len(own), inverse[own]
            among = np.eye(k) - 1 / k
            m = np.diag(h) - (np.outer(h, h) / h.sum() if h.any() else 0.0)
            shrinkage = self.text_variance * m
            z = features[own]
            mean = z @ self.coefficients
            effect[own] = among @ (mean + shrinkage @ (readings.mean[own] - mean))
            of_beta = among @ (np.eye(k) - shrinkage) @ z
            of_text = self.text_variance * (np.eye(k) - shrinkage)
            variance = of_beta @ self.covariance @ of_beta.T + among @ of_text @ among
            sd[own] = np.sqrt(np.maximum(np.diag(variance), 0.0))
        return effect, sd

    def _inverse_variance(self, exposure: Float64) -> Float64:
        """1 / (tau^2 + sigma^2 / n), shape [N]; 0 for a text without readings."""
        return np.asarray(exposure / (self.text_variance * exposure + self.noise_variance))


def fit_within_prompts(features: Float64, readings: Readings, prompt: Int64) -> WithinPromptEffects:
    """Fit y = a_c + beta' z + u + e by restricted maximum likelihood, within prompts.

    The baseline a_c of each prompt is free, so that only differences between the texts of a prompt count: what makes a
    prompt popular says nothing about its texts. beta ~ N(0, lambda^2) has one coefficient for each feature, shared by
    all prompts; u ~ N(0, tau^2) is the effect of a text that its features miss; e ~ N(0, sigma^2 / n) is the noise of a
    mean over an exposure n. With V = tau^2 + sigma^2 / n, weighted centring within prompts (~) and A = Z~' V^-1 Z~,

        -2 log L = sum log V + sum_c log sum_j 1 / V_cj + log det(I + lambda^2 A)
                   + y~' V^-1 y~ - b' (A + 1 / lambda^2)^-1 b,    b = Z~' V^-1 y~

    (Patterson and Thompson 1971; Robinson 1991, "That BLUP is a good thing"). Where all exposures are equal and no text
    was read twice, tau^2 and sigma^2 cannot be told apart: a weak prior then gives a quarter to tau^2.

    Parameters
    ----------
    features:
        z, shape [N, d], with coordinates of similar scale.
    readings:
        Means and exposures of the N texts.
    prompt:
        Code of the prompt of each text, shape [N].

    Raises
    ------
    DataError
        If no prompt has two texts that were read, or no two of them differ.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.within_prompts import Readings, fit_within_prompts
    >>> rng = np.random.default_rng(0)
    >>> z, prompt = rng.normal(size=(2000, 3)), np.arange(2000) // 4
    >>> y = 5 * rng.normal(size=500)[prompt] + z @ [1.0, 0.0, -1.0] + 0.3 * rng.normal(size=2000)
    >>> found = fit_within_prompts(z, Readings(y, np.ones(2000), 0.0, 0), prompt)
    >>> bool(np.allclose(found.coefficients, [1.0, 0.0, -1.0], atol=0.05))
    True
    """
    read = readings.exposure > 0
    z, y, n = np.asarray(features, dtype=np.float64)[read], readings.mean[read], readings.exposure[read]
    code = np.unique(prompt[read], return_inverse=True)[1]
    contrasts = len(y) - int(code.max(initial=-1)) - 1
    if contrasts < 1:
        raise DataError("no prompt has two texts with outcomes, so no text can be compared with another")
    spread = float((n @ (y - _prompt_means(y, n, code)) ** 2 + readings.within) / n.sum())
    if not spread > 0:
        raise DataError("all texts of a prompt have the same outcome, so that no text is better than another")
    typical = float(n.mean())
    width = float(np.mean((z - _prompt_means(z, n, code)) ** 2) * z.shape[1]) or 1.0

    def variances(log: Float64) -> tuple[float, float, float]:
        """sigma^2, tau^2 and lambda^2: a start that gives each of beta, u and e a part of the spread."""
        noise, text, slope = spread * np.exp(log)
        return typical * noise, text / 3, slope / (3 * width)

    def deviance(log: Float64) -> float:
        noise, text, slope = variances(log)
        moments = _Moments.of(z, y, text + noise / n, code)
        factor = cho_factor(np.eye(z.shape[1]) + slope * moments.zz)
        explained = slope * float(moments.zy @ cho_solve(factor, moments.zy))
        repeated = readings.spare * np.log(noise) + readings.within / noise
        prior = ((np.log(text * typical / noise) - PRIOR_LOG_ODDS) / PRIOR_SPREAD) ** 2
        log_det = 2 * float(np.log(np.diag(factor[0])).sum())
        return float(moments.log_det + log_det + moments.yy - explained + repeated + prior)

    bounds = [(-BOUND, BOUND)] * 3
    found = minimize(deviance, np.zeros(3), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-10})
    noise, text, slope = variances(found.x)
    moments = _Moments.of(z, y, text + noise / n, code)
    covariance: Float64 = np.linalg.inv(moments.zz + np.eye(z.shape[1]) / slope).astype(np.float64)
    return WithinPromptEffects(covariance @ moments.zy, covariance, text, noise)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Z~' V^-1 Z~, Z~' V^-1 y~, y~' V^-1 y~, and sum log V + sum_c log sum_j 1 / V_cj."""

    zz: Float64
    zy: Float64
    yy: float
    log_det: float

    @classmethod
    def of(cls, z: Float64, y: Float64, variance: Float64, prompt: Int64) -> _Moments:
        inverse = 1 / variance
        z, y = z - _prompt_means(z, inverse, prompt), y - _prompt_means(y, inverse, prompt)
        weighted = z * inverse[:, None]
        log_det = float(np.log(variance).sum() + np.log(np.bincount(prompt, weights=inverse)).sum())
        return cls(weighted.T @ z, weighted.T @ y, float(inverse @ y**2), log_det)


def _prompt_means(values: Float64, weight: Float64, prompt: Int64) -> Float64:
    """Weighted mean of the rows of each prompt, given to each row; 0 for a prompt without weight."""
    total = np.bincount(prompt, weights=weight)
    share = np.divide(weight, total[prompt], out=np.zeros(len(weight)), where=total[prompt] > 0)
    if values.ndim == 1:
        return np.asarray(np.bincount(prompt, weights=share * values)[prompt])
    to_prompt = csr_array((share, (prompt, np.arange(len(prompt)))), shape=(len(total), len(prompt)))
    return np.asarray((to_prompt @ values)[prompt])
