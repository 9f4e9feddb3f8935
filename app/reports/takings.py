"""What the tills took, by the ledger's days: sales less reversals.

A sale counts on the day its entry is booked on and a reversal, with a minus, on the day its own entry is: a sale reversed
on its day leaves nothing, one reversed later stays on its day and lessens the later one. `payments.received_on` is the day
a sale is booked on; a reversal has no row there, only its entry.
"""

from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session

#: One row per sale and per reversal; asks for :tenant and :properties.
TAKINGS = """(
    SELECT y.received_on AS booked_on, y.channel, y.amount_fen AS fen FROM payments y
    WHERE y.tenant_id = :tenant AND y.property_id = ANY(:properties)
    UNION ALL
    SELECT rev.booked_on, y.channel, -y.amount_fen FROM ledger_entries rev
    JOIN payments y ON y.tenant_id = rev.tenant_id AND y.entry_id = rev.reverses_id
    WHERE rev.tenant_id = :tenant AND rev.reverses_id IS NOT NULL AND y.property_id = ANY(:properties)
) takings"""


def takings_by_channel(session: Session, *, tenant_id: int, property_ids: list[int], day: date) -> dict[str, int]:
    """Net fen of a day by way of paying, also where a list of the payments would be cut off."""
    given = {"tenant": tenant_id, "properties": property_ids, "day": day}
    return {row.channel: row.fen for row in session.execute(_BY_CHANNEL, given)}


_BY_CHANNEL = text(f"""
    SELECT channel, sum(fen)::bigint AS fen FROM {TAKINGS} WHERE booked_on = :day GROUP BY channel ORDER BY channel
""")
