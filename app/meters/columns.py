"""How thousands of rows travel to PostgreSQL in one statement: a column at a time, as one text each.

    FROM unnest(CAST(string_to_array(:meters, ',', '') AS bigint[]), …)

A text of numbers costs a twentieth of an array parameter; instants travel as microseconds since 1970. Only numbers
and our own words go this way: a value with a comma in it would become two.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from app.kernel.clock import EPOCH, MICROSECOND

#: Microseconds since 1970 to timestamptz, exact: a bigint times one microsecond stays below 2⁵³.
AT = "'epoch'::timestamptz + {} * interval '1 microsecond'"


def micros(instant: datetime) -> int:
    """Microseconds since 1970."""
    return (instant - EPOCH) // MICROSECOND


def packed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a statement, with every list made one text; None becomes an empty field, which is NULL."""
    return {name: _joined(value) if isinstance(value, list) else value for name, value in columns.items()}


def _joined(values: Iterable[object]) -> str:
    return ",".join(["" if value is None else str(value) for value in values])


def unnest(alias: str, *, numbered: bool = False, **columns: str) -> str:
    """SQL that lays packed parameters side by side again: `unnest("u", meters="meter_id bigint")`.

    `numbered` adds a column `nr` that counts the rows from 1.
    """
    named = [(parameter, *column.split()) for parameter, column in columns.items()]
    arrays = ", ".join(f"CAST(string_to_array(:{name}, ',', '') AS {kind}[])" for name, _, kind in named)
    names = ", ".join(column for _, column, _ in named)
    if numbered:
        return f"unnest({arrays}) WITH ORDINALITY AS {alias}({names}, nr)"
    return f"unnest({arrays}) AS {alias}({names})"
