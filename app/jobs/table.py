"""The visible table: which event wakes which consumer, and which queue carries a consumer.

Every process that writes events installs the table; only workers import the use-cases behind it (`jobs.handlers`).
"""

from app.kernel.outbox import register_consumers

#: Event kind → consumers. Those that `webhooks` hears may be told outside; `reports.told` says in which words.
EVENTS: dict[str, tuple[str, ...]] = {
    "readings.arrived": ("pricing",),
    "plans.changed": ("pricing",),
    "supply.level_changed": ("supply", "webhooks"),
    "payments.succeeded": ("supply", "documents", "webhooks"),
    "commands.ended": ("supply", "webhooks"),
    "meters.returned": ("supply",),
    "meters.relay_changed": ("supply", "webhooks"),
    "notices.queued": ("notices",),
    "notices.delivered": ("supply",),
    "notices.failed": ("supply", "webhooks"),
    "webhooks.asked": ("webhooks",),
    "people.link_asked": ("password_links",),
    "residents.code_asked": ("resident_codes",),
}

#: Consumer → queue. Money and commands have workers of their own, so that a pile of documents never delays a light.
QUEUES: dict[str, str] = {
    "pricing": "money", "supply": "commands", "notices": "default", "documents": "default", "password_links": "default",
    "resident_codes": "default", "webhooks": "outside",
}  # fmt: skip
#: Queues a worker also looks after when its own is empty; strangers' servers answer when they like.
ALSO: dict[str, tuple[str, ...]] = {"default": ("outside",)}
SCHEDULE_QUEUE = "money"


def install() -> None:
    """Let this process write events."""
    register_consumers(EVENTS)
