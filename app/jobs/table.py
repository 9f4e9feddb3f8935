"""The visible table: which event wakes which consumer, and which queue carries a consumer.

Every process that writes events installs the table; only workers import the use-cases behind it (`jobs.handlers`).
"""

from app.kernel.outbox import register_consumers

#: Event kind → consumers.
EVENTS: dict[str, tuple[str, ...]] = {
    "readings.arrived": ("pricing",),
    "plans.changed": ("pricing",),
    "supply.level_changed": ("supply",),
    "payments.succeeded": ("supply", "documents"),
    "commands.ended": ("supply",),
    "meters.returned": ("supply",),
    "meters.relay_changed": ("supply",),
    "notices.queued": ("notices",),
    "notices.delivered": ("supply",),
    "notices.failed": ("supply",),
    "people.link_asked": ("password_links",),
}

#: Consumer → queue. Money and commands have workers of their own, so that a pile of documents never delays a light.
QUEUES: dict[str, str] = {
    "pricing": "money", "supply": "commands", "notices": "default", "documents": "default", "password_links": "default",
}  # fmt: skip
SCHEDULE_QUEUE = "money"


def install() -> None:
    """Let this process write events."""
    register_consumers(EVENTS)
