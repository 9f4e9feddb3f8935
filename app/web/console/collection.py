"""The call list 催缴名单: whom to call, what came of it, how each building pays, and who looks after which building.

A steward sees the buildings given to them; whoever may read accounts at a property sees the whole of it.
"""

import uuid
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.engine import Row

from app.billing.collection import (
    OUTCOMES,
    CallPromiseWrong,
    StewardUnfit,
    assign_building,
    buildings_of,
    note_call,
    withdraw_building,
)
from app.billing.models import SupplyAccount
from app.kernel.crypto import CipherBroken
from app.kernel.errors import AppError, Invalid, NotFound
from app.permissions.models import User
from app.permissions.policy import Permission
from app.reports.collection import Reach, building_rates, call_list, called_account, calls_of
from app.reports.people import holders
from app.tenants.access import or_not_found, within
from app.tenants.kek import KeyStoreAway
from app.tenants.models import Building, Party
from app.tenants.personal_data import masked_phone, unmask_phone
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import actor, operator, place, scope, today
from app.web.words import _, locale

P = Permission
#: Beyond what an id can be.
ID_MAX = 2**62


def outcome_words(outcome: str | None) -> str:
    """What came of a call."""
    words = {
        "reached": _("已接通"), "promised": _("承诺缴费"), "no_answer": _("无人接听"), "disputed": _("对费用有异议"),
    }  # fmt: skip
    return words.get(outcome or "", "–")


console.add_app_template_filter(outcome_words)


@console.get("/collection")
@requires(Permission.COLLECTION_CALL_READ)
def collection() -> ResponseReturnValue:
    """Whom to call, and how each building pays."""
    return _list()


@console.get("/collection/<uuid:public_id>")
@requires(Permission.COLLECTION_CALL_READ)
def collection_account(public_id: uuid.UUID) -> ResponseReturnValue:
    """One account: what is left, who called and with what answer. Raises NotFound."""
    return _account_page(_account(public_id))


@console.post("/collection/<uuid:public_id>")
@requires(Permission.PERSON_PHONE_UNMASK)
def collection_call(public_id: uuid.UUID) -> ResponseReturnValue:
    """Write down what came of a call. Raises NotFound."""
    a = _account(public_id)
    account = g.session.get_one(SupplyAccount, (g.tenant_id, a.id))
    outcome, note = request.form.get("outcome", ""), request.form.get("note", "")
    try:
        promised = _day(request.form.get("promised_on", ""))
        note_call(g.session, account=account, outcome=outcome, promised_on=promised, note=note, by=actor())
    except AppError as refused:
        return _account_page(a, refused=refused.message(locale())), refused.status
    flash(_("已记下这次通话。"), "good")
    return redirect(url_for("console.collection"), 303)


@console.post("/collection/<uuid:public_id>/phone")
@requires(Permission.PERSON_PHONE_UNMASK)
def collection_phone(public_id: uuid.UUID) -> ResponseReturnValue:
    """The full phone number, for a reason, on this one answer. Raises NotFound."""
    a = _account(public_id)
    try:
        number = unmask_phone(
            g.session, public_id=a.party_public_id, allowed=scope(P.PERSON_PHONE_UNMASK),
            reason=request.form.get("reason", ""), by=actor(),
        )  # fmt: skip
    except NotFound:
        raise
    except AppError as refused:
        return _account_page(a, refused=refused.message(locale())), refused.status
    return _account_page(a, number=number)


@console.post("/collection/stewards")
@requires(Permission.USER_GRANT_EDIT)
def collection_stewards() -> ResponseReturnValue:
    """Give a steward a building, or take it from them. Raises NotFound, Invalid."""
    if not (request.form.get("building") and request.form.get("user")):
        raise Invalid(field=_("楼栋"), reason=_("请选择人员和楼栋"))
    building, user = _building(), _user()
    try:
        if request.form.get("deed") == "withdraw":
            withdraw_building(g.session, building=building, user_id=user.id, by=actor())
        else:
            assign_building(g.session, building=building, user_id=user.id, by=actor())
    except StewardUnfit as refused:
        return _list(refused=refused.message(locale())), refused.status
    flash(_("楼栋分工已更新。"), "good")
    return redirect(url_for("console.collection"), 303)


def _reach(*, everywhere: bool = False) -> Reach:
    """Whole properties where the person reads accounts anyway; elsewhere the buildings given to them."""
    allowed = scope(P.COLLECTION_CALL_READ) if everywhere else place(P.COLLECTION_CALL_READ).property_ids
    whole = sorted(set(allowed) & set(scope(P.ACCOUNT_SUPPLY_READ)))
    others = sorted(set(allowed) - set(whole))
    user_id = operator().found.user_id
    return Reach(whole, buildings_of(g.session, user_id=user_id, property_ids=others) if others else [])


def _list(*, refused: str | None = None) -> str:
    reach, day = _reach(), today()
    month = day.replace(day=1)
    last_month = (month - timedelta(days=1)).replace(day=1)
    rates = building_rates(g.session, tenant_id=g.tenant_id, reach=reach, month=month, last_month=last_month)
    return render_template(
        "console/collection.html",
        rows=call_list(g.session, tenant_id=g.tenant_id, reach=reach, today=day),
        rates=rates,
        today=day,
        refused=refused,
        people=_stewards_to_be(),
    )


def _stewards_to_be() -> Mapping[str, str]:
    """People who may be given a building, for those who give them: public id → name."""
    mine = operator().scope.nodes(P.USER_GRANT_EDIT)
    if not mine:
        return {}
    held = holders(g.session, allowed=mine)[P.COLLECTION_CALL_READ]
    return {str(holder.public_id): holder.name for holder in held}


def _account(public_id: uuid.UUID) -> Row[Any]:
    found = called_account(
        g.session, tenant_id=g.tenant_id, reach=_reach(everywhere=True), today=today(), public_id=str(public_id)
    )
    if found is None:
        raise NotFound
    return found


def _account_page(a: Row[Any], *, refused: str | None = None, number: str | None = None) -> str:
    party = g.session.get_one(Party, (g.tenant_id, a.party_id))
    return render_template(
        "console/collection_account.html",
        a=a,
        phone=_masked(party),
        number=number,
        calls=calls_of(g.session, tenant_id=g.tenant_id, account_id=a.id),
        outcomes=OUTCOMES,
        refused=refused,
        typed=request.form,
        today=today(),
    )


def _masked(party: Party) -> str:
    try:
        return masked_phone(g.session, party=party)
    except (KeyStoreAway, CipherBroken):
        return ""


def _building() -> Building:
    allowed = within(Building.property_id, scope(P.USER_GRANT_EDIT))
    wanted = request.form.get("building", 0, type=int)
    query = select(Building).where(Building.id == (wanted if 0 < wanted < ID_MAX else 0), allowed)
    return or_not_found(g.session.scalar(query))  # type: ignore[no-any-return]


def _user() -> User:
    known = _stewards_to_be() if request.form.get("deed") != "withdraw" else None
    wanted = _uuid("user")
    if known is not None and str(wanted) not in known:
        raise NotFound
    return or_not_found(g.session.scalar(select(User).where(User.public_id == wanted)))  # type: ignore[no-any-return]


def _uuid(name: str) -> uuid.UUID:
    try:
        return uuid.UUID(request.form.get(name, ""))
    except ValueError:
        raise NotFound from None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise CallPromiseWrong from None
