"""The last chapter: day closes, invariants, seals."""

from sqlalchemy import text

from app.billing.ledger.invariants import violations
from app.billing.ledger.seals import seal_entries, verify_seals
from app.demo.story.acts import Act, show_entry
from app.demo.story.scene import Scene
from app.kernel.money import format_yuan
from app.tenants.seals import AUDIT, seal_chain, verify_chain

_UNDONE = """
    SELECT (SELECT count(*) FROM outbox_deliveries WHERE state <> 'done') AS deliveries,
           (SELECT count(*) FROM commands WHERE state IN ('queued', 'sent', 'acknowledged')) AS commands,
           (SELECT count(*) FROM stops WHERE state IN ('ordered', 'in_force', 'restoring')) AS stops,
           (SELECT count(*) FROM reading_cases WHERE settled_at IS NULL) AS cases
"""


def tell_books(act: Act, *spaces: str) -> None:
    """Show the day closes of a home, then that nothing is missing anywhere."""
    act.tell.chapter("The books")
    for space in spaces:
        _home(act, act.scene(space))
    act.tell.step("the ledger and the logs")
    with act.stage.session() as session:
        seal_entries(session)
        seal_chain(session, AUDIT)
    with act.stage.session() as session:
        act.tell.expect("every invariant of money holds", violations(session), [])
        for report in (verify_seals(session), verify_chain(session, AUDIT)):
            act.tell.fact(
                "seals",
                f"{report.chain}: {report.sealed} records in {report.blocks} blocks, {report.unsealed} unsealed",
            )
            act.tell.expect(f"the {report.chain} chain is whole", (report.intact, report.unsealed), (True, 0))
        undone = session.execute(text(_UNDONE)).one()
    act.tell.expect("nothing is left undone, dead or open", tuple(undone), (0, 0, 0, 0))


def _home(act: Act, home: Scene) -> None:
    act.tell.step(f"day closes of {home.place.space}")
    closes = home.entries("usage_day")
    for entry in closes[-3:]:
        show_entry(act, entry)
    row = home.row(_TOTALS)
    act.tell.fact(
        "usage", f"{row.usage_wh} Wh over {row.days} days, {format_yuan(-sum(e.change_fen for e in closes))} posted"
    )
    act.tell.expect(
        "the days' usage is the registers' difference", row.usage_wh, row.register_wh - row.register_wh_first
    )
    act.tell.expect("every day that has ended is posted", row.unposted, 0)


_TOTALS = """
    SELECT sum(d.usage_wh)::bigint AS usage_wh, count(*) AS days, min(m.register_wh) AS register_wh,
           min(o.register_wh_first) AS register_wh_first,
           count(*) FILTER (WHERE d.posted_microfen <> d.rated_microfen
                              AND d.day < (m.reading_at AT TIME ZONE 'Asia/Shanghai')::date) AS unposted
      FROM account_days AS d
      JOIN mounts AS o ON o.tenant_id = d.tenant_id AND o.supply_account_id = d.supply_account_id AND o.ended_at IS NULL
      JOIN meters AS m ON m.tenant_id = o.tenant_id AND m.id = o.meter_id
     WHERE d.supply_account_id = :account
"""
