"""The operators' console: one module per task, each a thin shell over read models and use-cases."""

from app.web.console import (
    accounts,
    books,
    control,
    counter,
    deliveries,
    demo,
    devices,
    energy,
    health,
    imports,
    prices,
    receipts,
    search,
    sign_in,
    today,
    wall,
)
from app.web.console.blueprint import console

__all__ = [
    "accounts", "books", "console", "control", "counter", "deliveries", "demo", "devices", "energy",
    "health", "imports", "prices",
    "receipts", "search", "sign_in", "today", "wall",
]  # fmt: skip
