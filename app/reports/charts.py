"""A chart as plain data: whole numbers of the small unit, and how many of them make the unit on the axis.

The page paints it and prints its table from the same numbers, so that nobody has to trust a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one set of bars. None is a missing value and stays missing; `estimated` bars are hatched."""

    name: str
    values: Sequence[int | None]
    estimated: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A level drawn across the chart: a threshold, in the small unit."""

    label: str
    at: int
    tone: str = "--th-red"


@dataclass(frozen=True, slots=True)
class Chart:
    """`kind` is bars, lines, steps (over instants) or heat; `per` small units make one `unit`."""

    kind: str
    unit: str
    per: int
    x_name: str
    x: Sequence[str]
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    stacked: bool = False
    teach: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value is not None for item in self.series for value in item.values)

    @property
    def columns(self) -> list[str]:
        """Headings of the table beside the chart, with the unit."""
        return [self.x_name, *(f"{item.name} ({self.unit})" for item in self.series)]

    def rows(self) -> list[list[str]]:
        """The table beside the chart."""
        return [[self._at(at), *(self._text(item.values[i]) for item in self.series)] for i, at in enumerate(self.x)]

    def for_chart(self) -> dict[str, Any]:
        """What the page's script draws."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "per": self.per,
            "x": list(self.x),
            "stacked": self.stacked,
            "series": [{"name": s.name, "data": list(s.values), "estimated": list(s.estimated)} for s in self.series],
            "marks": [{"label": m.label, "at": m.at, "tone": m.tone} for m in self.marks],
        }

    def _at(self, at: str) -> str:
        """An instant as `06-19 08:30`, midnight as `06-19`; any other label as it is."""
        day, _, clock = at.partition("T")
        return at if self.kind != "steps" else f"{day[5:]} {clock[:5]}".removesuffix(" 00:00")

    def _text(self, value: int | None) -> str:
        """The value in the unit of the axis, exactly, with two decimals where the unit has small parts."""
        if value is None:
            return "–"
        if self.per == 1:
            return f"{value:,}"
        sign, hundredths = ("-" if value < 0 else ""), (abs(value) * 100 + self.per // 2) // self.per
        return f"{sign}{hundredths // 100:,}.{hundredths % 100:02d}"


@dataclass(frozen=True, slots=True)
class Heat:
    """Hour × day: cells are (day index, hour, value in the small unit)."""

    unit: str
    per: int
    days: Sequence[str]
    cells: Sequence[tuple[int, int, int]]
    x_name: str
    teach: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.cells

    @property
    def columns(self) -> list[str]:
        """Day, then the 24 hours."""
        return [self.x_name, *(f"{hour:02d}" for hour in range(24))]

    def rows(self) -> list[list[str]]:
        """One row per day."""
        found = {(day, hour): value for day, hour, value in self.cells}
        return [
            [name, *(self._text(found.get((day, hour))) for hour in range(24))] for day, name in enumerate(self.days)
        ]

    def for_chart(self) -> dict[str, Any]:
        """What the page's script draws."""
        return {
            "kind": "heat",
            "unit": self.unit,
            "per": self.per,
            "x": list(self.days),
            "y": [f"{hour:02d}" for hour in range(24)],
            "cells": [list(cell) for cell in self.cells],
            "max": max((cell[2] for cell in self.cells), default=1),
        }

    def _text(self, value: int | None) -> str:
        if value is None:
            return "–"
        hundredths = (value * 100 + self.per // 2) // self.per
        return f"{hundredths // 100:,}.{hundredths % 100:02d}"
