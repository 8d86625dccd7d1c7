from __future__ import annotations

import re

import numpy as np
import pytest

from causalopt.report.svg import Axis, gauge, interval_bar


@pytest.mark.parametrize("scale", [1e-290, 1e-6, 1.0, 3e7, 1e250, 1e299])
def test_an_axis_holds_its_values_and_its_numbers_are_told_apart(scale: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = scale * rng.uniform(-1, 1, size=3)
        axis = Axis.over(values)
        held = np.clip(values, -1e300, 1e300)
        length = axis.high - axis.low
        assert axis.low - 1e-9 * length <= held.min()
        assert held.max() <= axis.high + 1e-9 * length
        assert np.ptp(held) > 0.3 * length, "the values fill a good part of it"
        ticks, labels = zip(*axis.labels(), strict=True)
        assert 2 <= len(ticks) <= 8
        assert len(set(labels)) == len(labels)
        places = [axis.at(tick) for tick in ticks]
        np.testing.assert_allclose(np.diff(places), places[1] - places[0], rtol=1e-6)


@pytest.mark.parametrize(
    "values", [[], [2.0], [0.0, 0.0], [float("nan"), float("inf")], [-3.0, -3.0], [1.7e308, -1.7e308]]
)
def test_an_axis_of_one_value_or_none_has_a_length(values: list[float]) -> None:
    axis = Axis.over(values)
    assert axis.high > axis.low
    assert np.isfinite(axis.high - axis.low)
    assert all(axis.low <= np.clip(value, -1e300, 1e300) <= axis.high for value in values if np.isfinite(value))


def test_a_bar_lies_where_its_numbers_do() -> None:
    drawn = str(interval_bar(-1.0, 0.5, 3.0, Axis(-2.0, 6.0), truth=2.0))
    lines = re.findall(r'<line x1="([\d.]+)%" y1="\d+" x2="([\d.]+)%" y2="\d+" class="(\w+)"', drawn)
    assert lines == [
        ("25.00", "25.00", "zero"), ("12.50", "62.50", "whisker"), ("12.50", "12.50", "whisker"),
        ("62.50", "62.50", "whisker"),
    ]  # fmt: skip
    assert re.findall(r'<circle cx="([\d.]+)%"', drawn) == ["31.25"]
    assert re.findall(r'<svg x="([\d.]+)%"', drawn) == ["50.00"]
    assert "zero" not in str(interval_bar(1.0, 2.0, 3.0, Axis(0.5, 4.0)))


def test_an_interval_without_ends_is_a_point() -> None:
    drawn = str(interval_bar(float("nan"), 0.5, float("inf"), Axis(0.0, 1.0)))
    assert "whisker" not in drawn
    assert "nan" not in drawn


@pytest.mark.parametrize(("size", "units"), [(0.0, 5.0), (0.3, 12.0), (7.0, 5.0)])
def test_a_gauge_of_few_units_stays_within_its_scale(size: float, units: float) -> None:
    drawn = str(gauge(size, units, [(20.0, "few"), (20.0, "thin"), (units, "enough")], "in words"))
    places = [float(place) for place in re.findall(r'(?:x|cx|x1)="([\d.]+)%"', drawn)]
    assert all(0 <= place <= 100 for place in places)
    assert 'aria-label="in words"' in drawn
