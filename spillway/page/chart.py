"""Charts as shapes that the template draws. Over time: bars on top of each other, or lines, over named stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LOST: Final = "var(--lost)"
OTHER: Final = "var(--other)"
GOOD: Final = "var(--good)"
BAD: Final = "var(--bad)"
RULE: Final = "var(--rule)"
_WIDTH, _HEIGHT = 960, 240
_LEFT, _TOP, _BOTTOM = 52, 34, 28
_LETTER: Final = 6.6
"""Width of one, of the size that the template's style gives."""


@dataclass(frozen=True)
class Series:
    """``values``: one a second; ``None`` where there is none. ``colour``: as CSS has it."""

    name: str
    colour: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Stretch:
    """From ``start_s`` to ``end_s``. ``broken``: something was."""

    name: str
    start_s: float
    end_s: float
    broken: bool


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str = ""


@dataclass(frozen=True)
class Line:
    """``points``: as SVG's ``polyline`` has them."""

    points: str
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    colour: str
    title: str


@dataclass(frozen=True)
class Label:
    """``end``: the text ends at ``x``. ``title``: the whole of a text that is cut."""

    x: float
    y: float
    text: str
    end: bool = False
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """What the template draws. ``said``: in words, for who does not see it. ``floor``: of its lower edge's line."""

    title: str
    said: str
    legend: tuple[tuple[str, str], ...]
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    floor: int | None = _HEIGHT - _BOTTOM
    left: int = _LEFT
    dots: tuple[Dot, ...] = ()


def stacked(title: str, said: str, series: Sequence[Series], stretches: Sequence[Stretch]) -> Chart:
    """Bars, a second each, in the order of ``series`` from the floor upwards."""
    seconds = max((len(one.values) for one in series), default=0)
    sums = [sum(one.values[at] or 0.0 for one in series) for at in range(seconds)]
    scale = _Scale(seconds, max(sums, default=0.0))
    bars = []
    for at in range(seconds):
        top = 0.0
        for one in series:
            value = one.values[at] or 0.0
            top += value
            if value:
                width = max(scale.across - 0.6, 0.4)
                bars.append(Box(scale.x(at), scale.y(top), width, scale.y(0.0) - scale.y(value), one.colour))
    return scale.chart(title, said, series, stretches, bars, [], "/s")


def lines(title: str, said: str, series: Sequence[Series], stretches: Sequence[Stretch], unit: str) -> Chart:
    """A line for each of ``series``, which ends where there is no value and goes on where there is one again."""
    seconds = max((len(one.values) for one in series), default=0)
    scale = _Scale(seconds, max((value for one in series for value in one.values if value is not None), default=0.0))
    drawn = [Line(points, one.colour) for one in series for points in _parts(one.values, scale)]
    return scale.chart(title, said, series, stretches, [], drawn, unit)


def _parts(values: Sequence[float | None], scale: _Scale) -> list[str]:
    parts: list[list[str]] = [[]]
    for at, value in enumerate(values):
        if value is None:
            parts.append([])
        else:
            parts[-1].append(f"{scale.x(at + 0.5):.1f},{scale.y(value):.1f}")
    return [" ".join(part) for part in parts if part]


class _Scale:
    def __init__(self, seconds: int, tallest: float) -> None:
        self.seconds = seconds
        self.tallest = tallest or 1.0
        self.across = (_WIDTH - _LEFT) / max(seconds, 1)

    def x(self, at: float) -> float:
        return _LEFT + at * self.across

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM) / self.tallest

    def chart(
        self,
        title: str,
        said: str,
        series: Sequence[Series],
        stretches: Sequence[Stretch],
        bars: Sequence[Box],
        drawn: Sequence[Line],
        unit: str,
    ) -> Chart:
        bands = [self._band(one) for one in stretches]
        names = [Label(band.x + 3, 14, _cut(band.title, band.width)) for band in bands]
        step = next((step for step in (5, 10, 20, 30, 60, 120) if self.seconds / step <= 15), 300)
        marks = [Label(self.x(at), _HEIGHT - _BOTTOM + 16, f"{at} s") for at in range(0, self.seconds, step)]
        ends = [Label(4, _TOP + 10, f"{self.tallest:.0f} {unit}"), Label(4, _HEIGHT - _BOTTOM, "0")]
        legend = tuple((one.name, one.colour) for one in series)
        return Chart(title, said, legend, (*bands, *bars), tuple(drawn), (*names, *marks, *ends))

    def _band(self, one: Stretch) -> Box:
        fill = "var(--broken)" if one.broken else "var(--band)"
        width = (one.end_s - one.start_s) * self.across
        return Box(self.x(one.start_s), 0, width, _HEIGHT - _BOTTOM, fill, one.name)


def _cut(name: str, width: float) -> str:
    letters = max(int(width / _LETTER), 0)
    if letters <= 2:
        return ""
    return name if len(name) <= letters else name[: letters - 1] + "…"
