"""The two ways scope meets a query: lists take one filter, single things answer 404 for "not yours" and "not
there".
"""

from collections.abc import Collection
from typing import Any, TypeVar

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, literal
from sqlalchemy.orm import InstrumentedAttribute

from app.kernel.errors import NotFound

Found = TypeVar("Found")


def within(column: InstrumentedAttribute[Any], allowed: Collection[int]) -> ColumnElement[bool]:
    """`column = ANY(allowed)`: one parameter however many properties a person may see; an empty scope sees
    nothing.
    """
    return column == any_(literal(sorted(allowed), ARRAY(BigInteger)))


def or_not_found(found: Found | None) -> Found:
    """The thing itself. Raises NotFound when it is not there or lies outside the scope it was asked with."""
    if found is None:
        raise NotFound()
    return found
