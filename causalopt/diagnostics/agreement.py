"""Agreement of raters: kappa, Gwet's AC, Krippendorff's alpha and the ICC, each by a library that is known for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from causalopt.errors import ConfigError, DataError
from causalopt.signatures import shown
from causalopt.typing import Array, Float64

Scale = Literal["nominal", "ordinal", "interval"]
RESAMPLED = 500
FEWEST_ITEMS = 5
"""Smallest number of items that all raters answered for an ICC."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of raters on items.

    Attributes
    ----------
    table:
        One row for each figure: ``measure``, ``value``, ``ci_low``, ``ci_high`` (nan if there is no interval),
        ``items``, ``by`` (the library).
    left_out:
        By measure, why it is not in the table.
    """

    table: pd.DataFrame
    left_out: dict[str, str] = field(default_factory=dict)


def agreement(answers: Any, scale: Scale = "nominal", *, level: float = 0.95, seed: int = 0) -> Agreement:
    """Measure how far raters agree.

    Parameters
    ----------
    answers:
        Answer of each rater to each item, a frame of shape [items, raters]; missing where a rater gave none.
    scale:
        "nominal" for categories, "ordinal" for numbers whose order counts, "interval" for numbers.
    level:
        Level of the intervals: of Gwet's coefficients and the ICC the libraries' own, of the others a percentile
        bootstrap over items with 500 resamples.
    seed:
        Of the bootstrap.

    Raises
    ------
    ConfigError
        For another scale.
    DataError
        If fewer than two raters, or no two raters of one item, gave an answer; or if all answers are equal.

    Notes
    -----
    Cohen's kappa (Cohen 1960; with quadratic weights unless nominal) by scikit-learn, for two raters. Fleiss' kappa
    (Fleiss 1971) by statsmodels, for items with equally many answers. AC1, or AC2 with the scale's weights (Gwet 2014),
    by irrCAC. Alpha (Krippendorff 2011) by krippendorff. ICC(A,1) and ICC(A,k), that is ICC(2,1) and ICC(2,k) (Shrout
    and Fleiss 1979), by pingouin, for numbers, from the items that all raters answered.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.diagnostics.agreement import agreement
    >>> answers = pd.DataFrame({"ann": ["yes", "yes", "no", "no"], "bob": ["yes", "no", "no", "no"]})
    >>> found = agreement(answers).table.set_index("measure")
    >>> round(float(found.loc["Cohen's kappa", "value"]), 3)
    0.5
    """
    if scale not in get_args(Scale):
        raise ConfigError(f"scale must be one of {', '.join(get_args(Scale))}, not {shown(scale)}")
    frame = pd.DataFrame(answers)
    frame = frame.dropna(how="all").dropna(how="all", axis=1)
    if frame.shape[1] < 2:
        raise DataError(f"{frame.shape[1]} rater gave answers: agreement needs at least two raters")
    twice = frame[frame.notna().sum(axis=1) >= 2]
    if not len(twice):
        raise DataError("no item has answers of two raters, so that nothing is known of their agreement")
    codes, categories = _codes(frame, scale)
    if len(categories) < 2:
        raise DataError(f"every answer is {shown(categories[0])}: agreement beyond chance needs two different answers")
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for name, by, measure in _MEASURES:
        try:
            value = measure(codes, categories, scale, level)
        except _LeftOutError as reason:
            left_out[name] = str(reason)
            continue
        if value is None:
            continue
        items = len(codes)
        for found in value:
            low, high = found.interval
            if found.again is not None:
                low, high = _bootstrap(codes, found.again, level, rng)
            rows.append(
                {
                    "measure": found.name,
                    "value": found.value,
                    "ci_low": low,
                    "ci_high": high,
                    "items": items if found.items is None else found.items,
                    "by": by,
                }
            )
    return Agreement(pd.DataFrame(rows), left_out)


@dataclass(frozen=True)
class _Found:
    name: str
    value: float
    interval: tuple[float, float] = (np.nan, np.nan)
    again: Callable[[Float64], float] | None = None
    items: int | None = None


class _LeftOutError(Exception):
    """Why a measure is left out."""


def _codes(frame: pd.DataFrame, scale: Scale) -> tuple[Float64, list[Any]]:
    """Answers as numbers, [items, raters]: as they are, or the position of the category; nan where there is none."""
    given = frame.to_numpy(dtype=object)
    there = ~pd.isna(given)
    if scale == "nominal":
        categories: list[Any] = sorted(set(given[there].tolist()), key=str)
        position = {category: float(k) for k, category in enumerate(categories)}
        codes = np.array(
            [position[one] if ok else np.nan for one, ok in zip(given.ravel(), there.ravel(), strict=True)]
        )
        return codes.reshape(given.shape), categories
    try:
        numbers = np.where(there, given, np.nan).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"an answer on the {scale} scale is not a number: {error}") from None
    return numbers, np.unique(numbers[there]).tolist()


def _values(codes: Float64) -> Float64:
    return np.unique(codes[~np.isnan(codes)])


def _cohen(codes: Float64, categories: Sequence[Any], scale: Scale, level: float) -> list[_Found] | None:
    if codes.shape[1] != 2:
        return None
    weights = None if scale == "nominal" else "quadratic"

    def kappa(some: Float64) -> float:
        both = ~np.isnan(some).any(axis=1)
        pair = np.unique(codes[~np.isnan(codes)], return_inverse=True)[0]
        place = np.searchsorted(pair, some[both])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(cohen_kappa_score(place[:, 0], place[:, 1], weights=weights, labels=np.arange(len(pair))))

    both = int((~np.isnan(codes).any(axis=1)).sum())
    name = "Cohen's kappa" if weights is None else "Cohen's kappa, quadratic weights"
    return [_Found(name, kappa(codes), again=kappa, items=both)]


def _fleiss(codes: Float64, categories: Sequence[Any], scale: Scale, level: float) -> list[_Found] | None:
    from statsmodels.stats.inter_rater import fleiss_kappa

    if scale != "nominal":
        return None
    counts = (~np.isnan(codes)).sum(axis=1)
    if np.ptp(counts):
        raise _LeftOutError(f"items have {counts.min()} to {counts.max()} answers, and it needs equally many")

    def kappa(some: Float64) -> float:
        table = np.stack([(some == k).sum(axis=1) for k in range(len(categories))], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(fleiss_kappa(table))

    return [_Found("Fleiss' kappa", kappa(codes), again=kappa)]


def _gwet(codes: Float64, categories: Sequence[Any], scale: Scale, level: float) -> list[_Found] | None:
    try:
        from irrCAC.raw import CAC
    except ImportError:
        raise _LeftOutError("it is computed by irrCAC, which is not installed: pip install --no-deps irrCAC") from None
    if ((~np.isnan(codes)).sum(axis=1) >= 2).sum() < 2:
        raise _LeftOutError("one item has the answers of two raters, and its error needs two such items")
    weights = {"nominal": "identity", "ordinal": "ordinal", "interval": "quadratic"}[scale]
    # Without categories irrCAC takes a missing answer for one under pandas 3; and it knows levels from 0.9 to 0.99.
    raters = CAC(
        pd.DataFrame(codes),
        weights=weights,
        categories=_values(codes).tolist(),
        confidence_level=level if 0.9 <= level <= 0.99 else 0.95,
        digits=12,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = raters.gwet()["est"]
    low, high = found["confidence_interval"] if 0.9 <= level <= 0.99 else (np.nan, np.nan)
    name = "Gwet's AC1" if scale == "nominal" else f"Gwet's AC2, {weights} weights"
    return [_Found(name, float(found["coefficient_value"]), (float(low), float(high)))]


def _krippendorff(codes: Float64, categories: Sequence[Any], scale: Scale, level: float) -> list[_Found] | None:
    try:
        import krippendorff
    except ImportError:
        raise _LeftOutError("it is computed by krippendorff: pip install 'causalopt[survey]'") from None
    domain = _values(codes)

    def alpha(some: Float64) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(krippendorff.alpha(some.T, level_of_measurement=scale, value_domain=domain))

    return [_Found(f"Krippendorff's alpha, {scale}", alpha(codes), again=alpha)]


def _icc(codes: Float64, categories: Sequence[Any], scale: Scale, level: float) -> list[_Found] | None:
    if scale == "nominal":
        return None
    whole = codes[~np.isnan(codes).any(axis=1)]
    if len(whole) < FEWEST_ITEMS:
        raise _LeftOutError(f"{len(whole)} items have an answer of every rater, and it needs {FEWEST_ITEMS}")
    try:
        import pingouin
    except ImportError:
        raise _LeftOutError("it is computed by pingouin: pip install 'causalopt[survey]'") from None
    item, rater = np.indices(whole.shape)
    long = pd.DataFrame({"item": item.ravel(), "rater": rater.ravel(), "answer": whole.ravel()})
    found = pingouin.intraclass_corr(long, targets="item", raters="rater", ratings="answer").set_index("Type")
    rows = []
    for kind, old in (("ICC(A,1)", "ICC(2,1)"), ("ICC(A,k)", "ICC(2,k)")):
        row = found.loc[kind]
        # pingouin rounds its interval to two digits, at 95% alone.
        low, high = row["CI95"] if level == 0.95 else (np.nan, np.nan)
        rows.append(_Found(old, float(row["ICC"]), (float(low), float(high)), items=len(whole)))
    return rows


_MEASURES: tuple[tuple[str, str, Callable[..., list[_Found] | None]], ...] = (
    ("Cohen's kappa", "scikit-learn", _cohen),
    ("Fleiss' kappa", "statsmodels", _fleiss),
    ("Gwet's AC", "irrCAC", _gwet),
    ("Krippendorff's alpha", "krippendorff", _krippendorff),
    ("ICC", "pingouin", _icc),
)


def _bootstrap(
    codes: Float64, measure: Callable[[Float64], float], level: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentile interval over items; resamples in which the measure is undefined are left out."""
    found = []
    for _ in range(RESAMPLED):
        some = codes[rng.integers(0, len(codes), len(codes))]
        if len(_values(some)) > 1:
            found.append(_defined(measure, some))
    known: Array = np.array([one for one in found if np.isfinite(one)])
    if len(known) < RESAMPLED / 2:
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _defined(measure: Callable[[Float64], float], some: Float64) -> float:
    try:
        return measure(some)
    except ValueError:  # no item of the resample has two answers
        return np.nan
