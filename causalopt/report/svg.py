"""Charts as inline SVG: no library in the page, sharp in print, coloured by its style sheet.

Horizontal positions are percentages of the width, and vertical ones pixels, so that text keeps its size on every
screen. Curves, which SVG cannot place in percent, lie in an inner picture that is stretched without its line widths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from causalopt.digits import number, percent

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
LARGEST = 1e300
"""Ends of an axis are kept below this, so that the length of the axis is a number."""


@dataclass(frozen=True)
class Axis:
    """A linear scale from ``low`` to ``high``.

    Examples
    --------
    >>> axis = Axis.over([0.1, 0.9])
    >>> axis.ticks()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> axis.at(0.5)
    0.5
    """

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], count: int = 4) -> Axis:
        """Return a scale with round ends that contains all finite values."""
        finite = [min(max(float(value), -LARGEST), LARGEST) for value in values if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            margin = 0.5 * abs(low) or 0.5
            low, high = low - margin, high + margin
        step = _step(high - low, count)
        return cls(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9))

    @classmethod
    def between(cls, values: Iterable[float]) -> Axis:
        """Return a scale from the least to the largest of some finite values."""
        known = list(values)
        return cls(min(known), max(known)) if min(known) < max(known) else cls.over(known)

    def at(self, value: float) -> float:
        """Place of a value as a share of the length, kept between 0 and 1."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self, count: int = 4) -> list[float]:
        """Round values along the scale, about ``count`` of them."""
        step = _step(self.high - self.low, count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * k for k in range(first, min(last, first + 20) + 1)]

    def labels(self, count: int = 4) -> list[tuple[float, str]]:
        """Ticks with their numbers, all with the same decimals."""
        ticks = self.ticks(count)
        step = _step(self.high - self.low, count)
        if not 1e-6 <= step < 1e9:
            return [(tick, number(float(tick))) for tick in ticks]
        decimals = next(places for places in range(9) if abs(round(step, places) - step) <= 1e-9 * step)
        return [(tick, f"{tick + 0.0:,.{decimals}f}".replace("-", "−")) for tick in ticks]


def _step(length: float, count: int) -> float:
    raw = length / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next((step * power for step in STEPS if step * power >= raw * (1 - 1e-9)), 10 * power)


def place(share: float) -> str:
    """Return a share of the width as SVG's percentage."""
    return f"{100 * share:.2f}%"


def interval_bar(low: float, estimate: float, high: float, axis: Axis, *, truth: float | None = None) -> Markup:
    """Draw an interval with its estimate along an axis, for a cell of a table; a dashed line marks zero."""
    parts = [_zero(axis, 22)]
    if math.isfinite(low) and math.isfinite(high):
        parts.append(_line(place(axis.at(low)), "11", place(axis.at(high)), "11", "whisker"))
        for end in (low, high):
            if axis.low <= end <= axis.high:
                parts.append(_line(place(axis.at(end)), "6", place(axis.at(end)), "16", "whisker"))
    if math.isfinite(estimate):
        parts.append(Markup('<circle cx="{}" cy="11" r="5" class="dot"/>').format(place(axis.at(estimate))))
    if truth is not None:
        parts.append(_cross(place(axis.at(truth)), 11))
    return Markup('<svg class="bar" height="22" aria-hidden="true">{}</svg>').format(Markup("").join(parts))


def interval_scale(axis: Axis) -> Markup:
    """Numbers of the axis below bars of `interval_bar`."""
    parts = [_tick_text(axis.at(tick), 14, label) for tick, label in axis.labels(3)]
    return Markup('<svg class="bar scale" height="20" aria-hidden="true">{}</svg>').format(Markup("").join(parts))


def gauge(size: float, units: float, zones: Sequence[tuple[float, str]], label: str) -> Markup:
    """Draw an effective number on a logarithmic scale from 1 to the number of units.

    Parameters
    ----------
    size, units:
        The effective number, and that of all units.
    zones:
        Upper end and class of each zone, in ascending order; the last one reaches to ``units``.
    label:
        What the picture shows, in words.
    """
    top = math.log(max(units, 10.0))

    def share_of(value: float) -> float:
        return min(max(math.log(max(value, 1.0)) / top, 0.0), 1.0)

    parts, start = [], 0.0
    for end, name in zones:
        stop = share_of(end)
        if stop > start:
            parts.append(
                Markup('<rect x="{}" y="20" width="{}" height="12" class="zone {}"/>').format(
                    place(start), place(stop - start), name
                )
            )
        start = max(start, stop)
    last = -1.0
    for value in (1.0, *(end for end, _ in zones)):
        share = share_of(value)
        if share - last > 0.09 or share in (0.0, 1.0):
            parts.append(_tick_text(share, 48, number(int(value) if float(value).is_integer() else float(value))))
            last = share
    here = place(share_of(size))
    parts.append(_line(here, "14", here, "38", "needle"))
    parts.append(Markup('<circle cx="{}" cy="11" r="5" class="dot"/>').format(here))
    return Markup('<svg class="gauge" height="52" role="img" aria-label="{}">{}</svg>').format(
        label, Markup("").join(parts)
    )


@dataclass
class Chart:
    """A chart with two axes, made part by part."""

    x: Axis
    y: Axis
    height: int = 220
    shares: str = ""
    """The axes whose numbers are shares, shown in percent: "x", "y" or "xy"."""
    _parts: list[Markup] = field(default_factory=list)
    _paths: list[Markup] = field(default_factory=list)

    def curve(self, xs: Sequence[float], ys: Sequence[float], series: int) -> None:
        """Draw a line through points; a point that is not finite interrupts it."""
        self._path(xs, ys, f"curve s{series % 6}", closed=False)

    def area(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float]) -> None:
        """Fill the space between two lines."""
        self._path([*xs, *reversed(xs)], [*high, *reversed(low)], "area", closed=True)

    def _path(self, xs: Sequence[float], ys: Sequence[float], name: str, *, closed: bool) -> None:
        steps, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            steps.append(f"{pen}{1000 * self.x.at(x):.1f} {self.height * (1 - self.y.at(y)):.1f}")
            pen = "L"
        if steps:
            d = "".join(steps) + ("Z" if closed else "")
            self._paths.append(Markup('<path d="{}" class="{}" vector-effect="non-scaling-stroke"/>').format(d, name))

    def point(self, x: float, y: float, title: str, name: str = "dot", radius: int = 4) -> None:
        """Mark a point, which says ``title`` under the pointer."""
        self._parts.append(
            Markup('<circle cx="{}" cy="{}" r="{}" class="{}"><title>{}</title></circle>').format(
                place(self.x.at(x)), self._y(y), radius, name, title
            )
        )

    def cross(self, x: float, y: float) -> None:
        """Mark a true value."""
        self._parts.append(_cross(place(self.x.at(x)), self.height * (1 - self.y.at(y))))

    def text(self, x: float, y: float, words: str) -> None:
        """Write words beside a point, on the side with more room."""
        share = self.x.at(x)
        anchor, shift = ("start", 8) if share < 0.6 else ("end", -8)
        self._parts.append(
            Markup('<text x="{}" y="{}" dx="{}" dy="4" text-anchor="{}">{}</text>').format(
                place(share), self._y(y), shift, anchor, words
            )
        )

    def _y(self, value: float) -> str:
        return f"{self.height * (1 - self.y.at(value)):.1f}"

    def render(self, label: str, x_title: str, y_title: str) -> Markup:
        """Return the picture, with ``label`` as its description in words."""
        frame = []
        for tick, words in self.y.labels():
            y = self._y(tick)
            frame.append(_line("0", y, "100%", y, "zero" if tick == 0 else "grid"))
            shown = percent(tick) if "y" in self.shares else words
            frame.append(Markup('<text x="-8" y="{}" dy="4" text-anchor="end">{}</text>').format(y, shown))
        for tick, words in self.x.labels(5):
            shown = percent(tick) if "x" in self.shares else words
            frame.append(_tick_text(self.x.at(tick), self.height + 18, shown, "middle"))
        frame.append(
            Markup('<text x="50%" y="{}" text-anchor="middle" class="title">{}</text>').format(
                self.height + 38, x_title
            )
        )
        inner = Markup(
            '<svg x="0" y="0" width="100%" height="{0}" viewBox="0 0 1000 {0}" preserveAspectRatio="none">{1}</svg>'
        ).format(self.height, Markup("").join(self._paths))
        return Markup(
            '<p class="ytitle">{}</p><div class="chart"><svg height="{}" role="img" aria-label="{}">{}{}{}</svg></div>'
        ).format(y_title, self.height + 44, label, Markup("").join(frame), inner, Markup("").join(self._parts))


def _line(x1: str, y1: str, x2: str, y2: str, name: str) -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(x1, y1, x2, y2, name)


def _zero(axis: Axis, height: int) -> Markup:
    if not axis.low <= 0 <= axis.high:
        return Markup("")
    return _line(place(axis.at(0.0)), "0", place(axis.at(0.0)), str(height), "zero")


def _cross(x: str, y: float) -> Markup:
    return Markup(
        '<svg x="{}" y="{:.1f}" overflow="visible"><path d="M-5-5L5 5M-5 5L5-5" class="truth"/></svg>'
    ).format(x, y)


def _tick_text(share: float, y: float, words: str, anchor: str | None = None) -> Markup:
    anchor = anchor or ("start" if share < 0.02 else "end" if share > 0.98 else "middle")
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(place(share), y, anchor, words)
