"""What a resident sees: their accounts, each with its balance, state, readings, statement, receipts and messages."""

import uuid
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from flask import g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.engine import Row

from app.billing.payments.receipts import receipt_number
from app.kernel.clock import business_now
from app.kernel.errors import NotFound
from app.notify.render import KINDS, Place, render_notice
from app.reports.accounts import account_days, statement
from app.reports.residents import resident_accounts, resident_notices, resident_payments, resident_receipt
from app.tenants.kek import KeyStoreAway
from app.tenants.personal_data import masked_phone
from app.web.console.books import kind_words
from app.web.console.posting_working import workings_of
from app.web.guards import public
from app.web.resident.blueprint import resident, residents_only
from app.web.resident.standing import dark_since, standing
from app.web.words import locale

STATEMENT_DAYS, STATEMENT_ROWS_MAX = 92, 400
DAYS_SHOWN = 14
#: Readings older than this are said to be.
READING_AGE_MAX = timedelta(hours=24)


@resident.get("")
@public
def home() -> ResponseReturnValue:
    """Their accounts; who has one sees it at once, who is not signed in is asked for a phone number."""
    if g.resident is None:
        return redirect(url_for("resident.sign_in_page"), 303)
    rows = _accounts()
    if len(rows) == 1:
        return render_template("resident/account.html", **_account(rows[0]), person=_person())
    return render_template("resident/home.html", rows=[(a, standing(a)) for a in rows], person=_person())


@resident.get("/accounts/<uuid:public_id>")
@residents_only
def account(public_id: uuid.UUID) -> ResponseReturnValue:
    """One account. Raises NotFound for "not there" and "not theirs" alike."""
    return render_template("resident/account.html", **_account(_access(public_id)), person=_person())


@resident.get("/accounts/<uuid:public_id>/statement")
@residents_only
def account_statement(public_id: uuid.UUID) -> ResponseReturnValue:
    """The last three months, each day with its working. Raises NotFound."""
    a = _access(public_id)
    since = max(_since(a), g.place.today - timedelta(days=STATEMENT_DAYS))
    found = statement(g.session, tenant_id=g.tenant_id, wallet_id=a.wallet_id or 0, most=STATEMENT_ROWS_MAX)
    rows = [row for row in found if row.booked_on >= since]
    return render_template(
        "resident/statement.html", a=a, rows=rows, since=since, kinds=kind_words(), workings=workings_of(a.id, rows)
    )


@resident.get("/receipts/<uuid:public_id>")
@residents_only
def receipt(public_id: uuid.UUID) -> ResponseReturnValue:
    """A receipt to look at; paper is the counter's. Raises NotFound."""
    mine = {a.id: a for a in _accounts()}
    r = resident_receipt(g.session, tenant_id=g.tenant_id, account_ids=mine.keys(), public_id=public_id)
    if r is None or r.received_on < _since(mine[r.supply_account_id]):
        raise NotFound
    return render_template(
        "resident/receipt.html", r=r, a=mine[r.supply_account_id], no=receipt_number(r.till, r.number)
    )


def _accounts() -> list[Row[Any]]:
    """Accounts of the spaces where they have a role today, each once."""
    rows = resident_accounts(
        g.session, tenant_id=g.tenant_id, property_id=g.place.property_id, space_ids=g.resident.homes.since
    )
    return list({row.id: row for row in reversed(rows)}.values())[::-1]


def _access(public_id: uuid.UUID) -> Row[Any]:
    for row in _accounts():
        if row.public_id == public_id:
            return row
    raise NotFound


def _since(a: Row[Any]) -> date:
    since: date = g.resident.homes.since[a.space_id]
    return since


def _account(a: Row[Any]) -> dict[str, Any]:
    since, where = _since(a), {"tenant_id": g.tenant_id, "account_id": a.id}
    parties = [party.id for party in g.resident.homes.parties]
    notices = resident_notices(g.session, **where, party_ids=parties, since=since)
    return {
        "a": a,
        "standing": standing(a),
        "dark_since": dark_since(a),
        "reading_old": a.reading_at is not None and business_now() - a.reading_at > READING_AGE_MAX,
        "days": account_days(g.session, **where, since=since, most=DAYS_SHOWN),
        "payments": [(row, receipt_number(row.till, row.number)) for row in resident_payments(g.session, **where, since=since)],
        "notices": [(row, _notice_text(row)) for row in notices],
    }  # fmt: skip


def _notice_text(row: Row[Any]) -> str:
    """The message as it was sent; '' for one whose figures were not kept."""
    if row.kind not in KINDS or "account_number" not in row.params:
        return ""
    place = Place(g.place.name, g.place.time_zone)
    return render_notice(kind=row.kind, params=row.params, place=place, locale=locale())


def _person() -> dict[str, Any]:
    """Who they are here, masked like everywhere."""
    phone = ""
    with suppress(KeyStoreAway):  # the page is theirs all the same
        phone = masked_phone(g.session, party=g.resident.homes.parties[0])
    return {"parties": g.resident.homes.parties, "phone": phone}
