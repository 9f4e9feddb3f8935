"""Rating: usage × price, exactly, with the working shown. Nothing is rounded here: `money.settle` does.

span 23:30–00:30, 1,000 Wh          price 0.6083 until midnight, 0.6500 after
→ 23:30–00:00    500 Wh × 60,830 microfen/Wh = 30,415,000 microfen
  00:00–00:30    500 Wh × 65,000 microfen/Wh = 32,500,000 microfen
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from app.billing.tariffs.plans import FlatPrice, PlanTimeline, PlanVersion
from app.meters.spans import UsageSpan, pro_rata

FLAT_LABEL = "单一价"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the working: the bill, the dispute and the test read the same."""

    #: What was priced, as a Chinese message id.
    label: str
    #: Watt-hours (litres of water).
    quantity_wh: int
    #: Yuan per kWh (m³).
    price: Decimal
    #: quantity × price, exactly, in millionths of a fen.
    amount_microfen: int
    plan_version_id: int
    from_at: datetime
    to_at: datetime


def rate(span: UsageSpan, timeline: PlanTimeline) -> tuple[Line, ...]:
    """Price one span, cut where the price changes, pro rata by time. Raises PlanNotYetEffective."""
    version = timeline.only_over(span.from_at, span.to_at)
    if version is not None:
        return (_line(version, span.usage_wh, span.from_at, span.to_at),)
    instants = [span.from_at, *timeline.cuts(span.from_at, span.to_at), span.to_at]
    parts = pro_rata(instants, span.usage_wh)
    return tuple(
        _line(timeline.at(earlier), part_wh, earlier, later)
        for (earlier, later), part_wh in zip(pairwise(instants), parts, strict=True)
    )


def rate_many(spans: Iterable[UsageSpan], timeline: PlanTimeline) -> list[tuple[Line, ...]]:
    """Price spans of one plan, each with its lines, in the order given. Raises PlanNotYetEffective."""
    return [rate(span, timeline) for span in spans]


def total_microfen(lines: Iterable[Line]) -> int:
    """What the lines come to, in millionths of a fen."""
    return sum(line.amount_microfen for line in lines)


def _line(version: PlanVersion, quantity_wh: int, from_at: datetime, to_at: datetime) -> Line:
    match version.price:
        case FlatPrice(yuan=price, microfen=microfen):
            amount = quantity_wh * microfen
            return Line(FLAT_LABEL, quantity_wh, price, amount, version.id, from_at, to_at)
