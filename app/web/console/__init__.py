"""The operators' console: one module per task, each a thin shell over read models and use-cases."""

from app.web.console import (
    accounts,
    audit,
    books,
    control,
    counter,
    counter_pcs,
    deliveries,
    demo,
    devices,
    energy,
    health,
    imports,
    passwords,
    prices,
    receipts,
    search,
    security,
    sign_in,
    sign_in_steps,
    step_up,
    switch,
    today,
    wall,
)
from app.web.console.blueprint import console

__all__ = [
    "accounts", "audit", "books", "console", "control", "counter", "counter_pcs", "deliveries", "demo", "devices", "energy",
    "health", "imports", "passwords", "prices",
    "receipts", "search", "security", "sign_in", "sign_in_steps", "step_up", "switch", "today", "wall",
]  # fmt: skip
