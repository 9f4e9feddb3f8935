"""The facts behind a decision as plain data: what a permit and a judgement keep, and a dispute reads."""

from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from app.billing.stop_policy import StopFacts, StopVerdict
from app.billing.stop_windows import WindowRule


def evidence(facts: StopFacts, verdict: StopVerdict) -> dict[str, Any]:
    """Every fact the gate judged and what it answered, ready for JSON: figures, names of states, instants."""
    return {"facts": _plain(facts), "verdict": _plain(verdict)}


def _plain(value: object) -> Any:
    match value:
        case Enum():
            return value.value
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return int(value.total_seconds())
        case WindowRule():
            # The calendar is a function; the hours and the zone are what a reader needs beside `now`.
            return {"zone": str(value.zone)} | _plain(value.window)
        case frozenset() | tuple():
            return sorted(map(_plain, value)) if isinstance(value, frozenset) else [_plain(v) for v in value]
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value
