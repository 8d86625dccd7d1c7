"""An estimate, with the influence of each row and of each Monte Carlo draw, from which its standard error follows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse, stats

from causalopt.arrays import as_positions, as_vector
from causalopt.doors import as_float, check_number, check_seed, check_type, is_number
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.jackknife import Deletions, Error, deletions_of_mean, error_of, scattered
from causalopt.signatures import LARGEST_COUNT, shown
from causalopt.typing import Float64, Int64

_CHUNK = 4_000_000  # counts that the bootstrap holds in memory at once


class TTest(NamedTuple):
    """A two-sided test: ``statistic`` (value - null) / se, its ``p_value``, and the ``df`` of Student's t."""

    statistic: float
    p_value: float
    df: float


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its standard error; estimates of the same rows can be added and subtracted.

    The error has independent parts, which are stored separately so that arithmetic is correct:

    * *rows*: the logged rows. Their influence values add and subtract row by row, and their delete-one values cluster
      by cluster. The errors of two policies evaluated on the same rows are correlated, and the difference is more
      precise than either value.
    * *draws*: each set of Monte Carlo draws from a policy is an independent sample, stored as influence values under a
      key derived from the draws' content. For different draws the variances add. For the same draws (`dr` and `dm`
      of one policy, or a policy minus itself) the influence values add and subtract draw by draw, so that
      ``a - a`` is 0 with a standard error of 0.

    Parameters
    ----------
    value:
        Outcome units.
    influence:
        Influence of each row, shape [n], outcome units, sum zero: the value's error is close to its mean over rows of
        the population. Empty if no row enters (`dm` of independent draws); such an estimate combines with any rows.
    cluster:
        Codes of zero, one or two clusterings of the rows, each [n].
    draws:
        Map from key to the influence of each draw, shape [m] (lengths may differ), outcome units, sum zero.
    estimator:
        Name of the estimator, for tables.
    details:
        Other results: clipped mass, chosen threshold, ...; a sum or difference has none.
    deletions:
        Changes when each cluster is left out, see `causalopt.estimators.jackknife`. Without them the influence is taken
        to be that of a plain mean over rows.

    Notes
    -----
    The variance is ``se_rows^2 + sum_k se_draws_k^2``. The variance of the rows is the delete-one-cluster jackknife,
    ``(G - 1) / G * sum_g (theta_(-g) - mean)^2``; with two-way clusters A and B it is ``V_A + V_B - V_AB``, but never
    below the larger of V_A and V_B. Intervals and tests use Student's t at every sample size, with Welch and
    Satterthwaite's degrees of freedom ``se^4 / sum_k (se_k^4 / df_k)``. For the rows these are
    ``(sum_g a_g^2)^2 / sum_g a_g^4`` with a_g the cluster's signed share of the weights, at most G - 1, and the smaller
    of the two with two-way clusters; for draws their number minus one. With many clusters this is close to the normal
    distribution; with few, or few of large weight, the interval is wider, as it should be.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import snipw
    >>> xi = np.array([1.0, 2.0, 3.0, 4.0])
    >>> a, b = snipw(np.array([0.0, 0.1, 0.2, 0.3]), xi), snipw(np.zeros(4), xi)
    >>> round((a - b).value, 3), round((a - b).se, 3), round(a.se, 3)
    (0.125, 0.077, 0.649)
    >>> (a - a).value, (a - a).se
    (0.0, 0.0)
    """

    value: float
    influence: Float64
    cluster: tuple[Int64, ...] = ()
    draws: Mapping[str, Float64] = field(default_factory=dict)
    estimator: str = "estimate"
    details: Mapping[str, Any] = field(default_factory=dict)
    deletions: tuple[Deletions, ...] = ()

    def __post_init__(self) -> None:
        if not is_number(self.value):
            raise DataError(f"{self.estimator}: value must be a number, not {shown(self.value)}")
        if isinstance(self.value, int):
            object.__setattr__(self, "value", as_float(self.value))
        if not _is_vector(self.influence):
            object.__setattr__(self, "influence", as_vector(f"{self.estimator}: influence", self.influence))
        if not np.isfinite(self.value) or not np.isfinite(self.influence).all():
            raise DataError(f"{self.estimator}: the value or an influence value is not finite")
        check_type("estimator", self.estimator, (str,), "a name")
        if not (isinstance(self.deletions, tuple) and all(isinstance(one, Deletions) for one in self.deletions)):
            raise DataError(f"{self.estimator}: deletions must be a tuple of Deletions, not {shown(self.deletions)}")
        if not self.deletions:  # made by a user; those made here come with codes
            if self.n and np.abs(self.influence).max() > np.finfo(np.float64).max / (4 * self.n):
                raise DataError(f"{self.estimator}: influence holds values whose sums no float can hold")
            object.__setattr__(self, "cluster", cluster_codes(self.cluster, self.n))
            check_type(f"{self.estimator}: draws", self.draws, (Mapping,), "a mapping from a name to influence values")
            draws = {
                str(key): one if _is_vector(one) else as_vector(f"{self.estimator}: draws", one)
                for key, one in self.draws.items()
            }
            object.__setattr__(self, "draws", draws)
        if any(len(codes) != len(self.influence) for codes in self.cluster):
            raise DataError(f"{self.estimator}: cluster and influence have different lengths")
        if self.n and not self.deletions:
            equal = np.full(self.n, 1 / self.n)
            object.__setattr__(self, "deletions", deletions_of_mean(self.influence, equal, self.cluster))

    @property
    def n(self) -> int:
        """Number of rows behind the estimate; 0 if it is based on draws alone."""
        return len(self.influence)

    @property
    def clusters(self) -> tuple[int, ...]:
        """Number of clusters in each clustering; the number of rows if there is none."""
        if not self.cluster:
            return (self.n,)
        return tuple(int(codes.max()) + 1 for codes in self.cluster)

    @cached_property
    def _parts(self) -> list[Error]:
        """Standard error and degrees of freedom of each independent part."""
        parts = [error_of(deletions_of_mean(one, np.full(len(one), 1 / len(one)))) for one in self.draws.values()]
        return [*parts, error_of(self.deletions)] if self.n else parts

    @property
    def se(self) -> float:
        """Standard error, outcome units; 0 for a number known exactly."""
        return float(np.hypot.reduce([se for se, _ in self._parts], initial=0.0))

    @property
    def df(self) -> float:
        """Welch-Satterthwaite degrees of freedom; inf if the standard error is 0."""
        total = self.se
        if total == 0:
            return float("inf")
        return 1.0 / sum((se / total) ** 4 / df for se, df in self._parts if se > 0)

    def confint(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided confidence interval, ``(low, high)`` in outcome units.

        Examples
        --------
        >>> from causalopt.evaluation import dm
        >>> low, high = dm([1.0, 2.0, 3.0]).confint(0.90)
        >>> round(low, 3), round(high, 3)
        (0.314, 3.686)
        """
        if not (is_number(level) and 0 < level < 1):
            raise DataError(f"level must be between 0 and 1, not {shown(level)}")
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.se
        return self.value - half, self.value + half

    def test(self, null: float = 0.0) -> TTest:
        """Two-sided test that the estimand equals ``null``; for a number known exactly the p-value is 1 or 0."""
        check_number("null", null)
        distance = self.value - null
        if self.se == 0:
            return (
                TTest(0.0, 1.0, self.df) if distance == 0 else TTest(float(np.copysign(np.inf, distance)), 0.0, self.df)
            )
        statistic = distance / self.se
        return TTest(statistic, float(2 * stats.t.sf(abs(statistic), self.df)), self.df)

    def bootstrap(self, n: int = 1000, seed: int = 0) -> Float64:
        """Bootstrapped values, shape [n], outcome units, by resampling clusters and draws.

        One-way clusters (or rows): delete-one values are drawn with replacement, scaled to the variance of the standard
        error. Two-way: clusters of both kinds are drawn, and a row's influence is multiplied by the product of its two
        counts (the pigeonhole bootstrap, Owen 2007). The counts depend on ``seed`` and the rows alone, so the
        bootstraps of several estimates of the same rows are joint.

        Examples
        --------
        >>> from causalopt.evaluation import dm
        >>> dm([1.0, 2.0, 3.0]).bootstrap(3, seed=0).shape
        (3,)
        """
        check_number("n", n, least=1, most=LARGEST_COUNT, whole=True)
        check_seed("seed", seed)
        values = np.full(n, self.value)
        if self.n:
            values += self._bootstrap_rows(n, np.random.default_rng(seed))
        for key, influence in self.draws.items():
            rng = np.random.default_rng([seed, int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)])
            values += _resample(influence, n, rng) / len(influence)
        return values

    def _bootstrap_rows(self, n: int, rng: np.random.Generator) -> Float64:
        if len(self.cluster) < 2:
            change = self.deletions[0].change
            groups = len(change)
            return _resample((change.mean() - change) * (groups - 1) / groups, n, rng)
        cells = sparse.coo_array((self.influence, self.cluster), shape=self.clusters).tocsr()
        step = max(1, _CHUNK // max(self.clusters))
        parts = []
        for start in range(0, n, step):
            first, second = (_counts(count, min(step, n - start), rng) for count in self.clusters)
            parts.append(np.asarray(((first @ cells) * second).sum(axis=1)))
        return np.concatenate(parts) / self.n

    def __add__(self, other: Estimate) -> Estimate:
        return self._combine(other, 1.0)

    def __sub__(self, other: Estimate) -> Estimate:
        return self._combine(other, -1.0)

    def __neg__(self) -> Estimate:
        return self * -1.0

    def __mul__(self, factor: float) -> Estimate:
        factor = float(factor)
        draws = {key: factor * values for key, values in self.draws.items()}
        deletions = tuple(one.times(factor) for one in self.deletions)
        return Estimate(
            factor * self.value, factor * self.influence, self.cluster, draws, self.estimator, deletions=deletions
        )

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Estimate:
        if divisor == 0:
            raise DataError("an estimate cannot be divided by zero")
        return self * (1.0 / divisor)

    def _combine(self, other: Estimate, sign: float) -> Estimate:
        if not isinstance(other, Estimate):
            return NotImplemented
        influence, cluster, deletions = self._combined_rows(other, sign)
        draws = dict(self.draws)
        for key, values in other.draws.items():
            draws[key] = draws[key] + sign * values if key in draws else sign * values
        name = self.estimator
        if other.estimator != name:
            name = f"{self.estimator} {'+' if sign > 0 else '-'} {other.estimator}"
        return Estimate(self.value + sign * other.value, influence, cluster, draws, name, deletions=deletions)

    def _combined_rows(self, other: Estimate, sign: float) -> tuple[Float64, tuple[Int64, ...], tuple[Deletions, ...]]:
        signed = tuple(one.times(sign) for one in other.deletions)
        if not other.n:
            return self.influence, self.cluster, self.deletions
        if not self.n:
            return sign * other.influence, other.cluster, signed
        self.check_same_rows(other)
        deletions = tuple(own.plus(one) for own, one in zip(self.deletions, signed, strict=True))
        return self.influence + sign * other.influence, self.cluster, deletions

    def check_same_rows(self, other: Estimate) -> None:
        """Raise `DataError` if two estimates of rows have different rows or clusters."""
        check_type("other", other, (Estimate,), "an Estimate")
        if self.n != other.n:
            raise DataError(
                f"estimates of different rows ({self.n} and {other.n}) cannot be combined: "
                "evaluate both on the same rows"
            )
        same = len(self.cluster) == len(other.cluster)
        if not same or any(not np.array_equal(a, b) for a, b in zip(self.cluster, other.cluster, strict=True)):
            raise DataError("estimates with different clusters cannot be combined: pass the same cluster to both")

    def on_all_rows(self, rows: Int64, cluster: tuple[Int64, ...], n: int) -> Estimate:
        """Return this estimate of some rows as one of all ``n`` rows, so that it combines with others of these.

        Its value, standard error and degrees of freedom are unchanged. Rows outside have influence zero, and a cluster
        that has rows of two such estimates makes these dependent.

        Parameters
        ----------
        rows:
            Positions of its rows among all rows, shape [k].
        cluster:
            Codes of all rows, each of shape [n], in the clusterings that the estimate has; empty for rows.
        n:
            Number of all rows.

        Examples
        --------
        >>> import numpy as np
        >>> from causalopt.evaluation import snipw
        >>> some = snipw(np.zeros(3), [1.0, 2.0, 6.0])
        >>> wide = some.on_all_rows(np.array([0, 2, 4]), (), 6)
        >>> wide.n, wide.value == some.value, wide.se == some.se, wide.df == some.df
        (6, True, True, True)
        """
        check_number("n", n, least=self.n, most=LARGEST_COUNT, whole=True)
        rows = as_positions("rows", rows, int(n))
        check_type("cluster", cluster, (tuple,), "a tuple of arrays of codes")
        if not self.n:
            return self
        if len(np.unique(rows)) != self.n or len(rows) != self.n or len(cluster) != len(self.cluster):
            raise DataError(f"{self.estimator}: rows and clusters do not match those of the estimate")
        influence = np.zeros(n)
        influence[rows] = self.influence * (n / self.n)
        deletions = scattered(self.deletions, rows, self.cluster, cluster or (np.arange(n),))
        return replace(self, influence=influence, cluster=cluster, deletions=deletions)

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row: estimator, estimate, se, ci_low, ci_high, p_value, rows, clusters (the smaller), draws."""
        low, high = self.confint(level)
        return pd.DataFrame(
            {
                "estimator": [self.estimator],
                "estimate": [self.value],
                "se": [self.se],
                "ci_low": [low],
                "ci_high": [high],
                "p_value": [self.test().p_value],
                "rows": [self.n],
                "clusters": [min(self.clusters)],
                "draws": [sum(len(values) for values in self.draws.values())],
            }
        )

    def summary(self, level: float = 0.95) -> str:
        """Return a summary of one line, and one more line for each detail.

        Examples
        --------
        >>> from causalopt.evaluation import dm
        >>> print(dm([1.0, 2.0, 3.0]).summary())
        dm: 2 (95% interval -0.4841 to 4.484; se 0.5774; 0 rows, 3 draws)
        """
        low, high = self.confint(level)
        basis = f"{self.n} rows"
        if self.cluster:
            basis += f" in {' x '.join(str(count) for count in self.clusters)} clusters"
        if self.draws:
            basis += f", {sum(len(values) for values in self.draws.values())} draws"
        lines = [
            f"{self.estimator}: {self.value:.4g} ({100 * level:g}% interval {low:.4g} to {high:.4g}; "
            f"se {self.se:.4g}; {basis})"
        ]
        for name, detail in self.details.items():
            lines.append(f"  {name}: {detail:.4g}" if isinstance(detail, float) else f"  {name}: {detail}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()


def _is_vector(values: object) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == np.float64 and values.ndim == 1


def _counts(size: int, n: int, rng: np.random.Generator) -> Float64:
    return rng.multinomial(size, np.full(size, 1.0 / size), size=n).astype(np.float64)


def _resample(sums: Float64, n: int, rng: np.random.Generator) -> Float64:
    """Sum ``len(sums)`` values drawn with replacement, ``n`` times, scaled to the variance of the standard error."""
    size = len(sums)
    step = max(1, _CHUNK // size)
    parts = [_counts(size, min(step, n - start), rng) @ sums for start in range(0, n, step)]
    return np.concatenate(parts) * float(np.sqrt(size / (size - 1)))
