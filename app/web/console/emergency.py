"""Emergency supply 应急供电 on the duty officer's phone: find the room, see why it is dark, one button."""

import uuid
from datetime import timedelta
from typing import Any

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.emergency import EmergencyAllowanceWrong, give_emergency_supply, refuse_emergency, set_allowance
from app.billing.emergency_given import allowance_of
from app.billing.emergency_rules import FEN_RANGE, HOURS_RANGE
from app.billing.supply_accounts import access_supply_account
from app.kernel.clock import business_now, day_start
from app.kernel.errors import AppError, NotFound
from app.kernel.money import format_yuan, parse_yuan
from app.permissions.policy import Permission
from app.reports.emergency import emergencies_since
from app.web.console.accounts import access_account
from app.web.console.blueprint import console
from app.web.console.search import WORDS_MAX, answers
from app.web.guards import requires
from app.web.places import actor, place, scope, today
from app.web.words import ZONE, _, locale, moment, yuan

#: The list reaches back over last night.
LIST_REACHES = timedelta(hours=12)


@console.get("/emergency")
@requires(Permission.SUPPLY_EMERGENCY_GIVE)
def emergency() -> ResponseReturnValue:
    """The search box, today's and last night's emergency supplies, and for managers what a night is."""
    return _list()


@console.post("/emergency/allowance")
@requires(Permission.METER_COMMAND_MASS)
def emergency_allowance() -> ResponseReturnValue:
    """Set what the duty officer of a property may give. Raises NotFound."""
    here = place(Permission.METER_COMMAND_MASS, one=True)
    if here.property is None:
        raise NotFound
    try:
        hours, fen_max = _hours(), parse_yuan(request.form.get("yuan", ""))
        set_allowance(g.session, property_id=here.property.id, hours=hours, fen_max=fen_max, by=actor())
    except AppError as refused:
        return _list(refused=refused.message(locale())), refused.status
    flash(_("已保存。今后的应急供电按新的额度。"), "good")
    return redirect(url_for("console.emergency", p=here.property.public_id), 303)


@console.get("/emergency/<uuid:public_id>")
@requires(Permission.SUPPLY_EMERGENCY_GIVE)
def emergency_room(public_id: uuid.UUID) -> ResponseReturnValue:
    """One room: its state, why, and the button. Raises NotFound."""
    return _room(public_id)


@console.post("/emergency/<uuid:public_id>")
@requires(Permission.SUPPLY_EMERGENCY_GIVE)
def give_emergency(public_id: uuid.UUID) -> ResponseReturnValue:
    """Give light for a night, or say why not. Raises NotFound."""
    allowed = scope(Permission.SUPPLY_EMERGENCY_GIVE)
    account = access_supply_account(g.session, public_id=public_id, allowed=allowed)
    try:
        with g.session.begin_nested():
            given = give_emergency_supply(
                g.session, account=account, reason=request.form.get("reason", ""),
                appliances_off=bool(request.form.get("appliances_off")), actor=actor(),
            )  # fmt: skip
    except AppError as refused:
        return _room(public_id, refused=refused.message(locale())), refused.status
    until, amount = moment(given.until_at), yuan(given.fen_max)
    flash(_("已请求送电。到 %(until)s 或再用 %(amount)s 电之前不再停供。", until=until, amount=amount), "good")
    return redirect(url_for("console.emergency_room", public_id=public_id), 303)


def _list(*, refused: str | None = None) -> str:
    words = request.args.get("q", "")[:WORDS_MAX]
    here = place(Permission.SUPPLY_EMERGENCY_GIVE)
    now = business_now()
    rows = emergencies_since(
        g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, now=now,
        since=min(day_start(today(), ZONE), now - LIST_REACHES),
    )  # fmt: skip
    return render_template(
        "console/emergency.html",
        query=words,
        found=answers(words, Permission.SUPPLY_EMERGENCY_GIVE) if words.strip() else [],
        rows=rows,
        refused=refused,
        **_setting(),
    )


def _setting() -> dict[str, Any]:
    """The allowance of the one property a page is about, where the person may set it."""
    mine = scope(Permission.METER_COMMAND_MASS)
    node = g.here.property
    if node is None and len(mine) == 1:
        node = place(Permission.METER_COMMAND_MASS, one=True).property
    if node is None or node.id not in mine:
        return {"allowance": None}
    return {
        "allowance": allowance_of(g.session, property_id=node.id),
        "node": node,
        "hours_range": HOURS_RANGE,
        "fen_range": FEN_RANGE,
    }


def _room(public_id: uuid.UUID, *, refused: str | None = None) -> str:
    a = access_account(public_id, Permission.SUPPLY_EMERGENCY_GIVE)
    why_not = None
    try:
        refuse_emergency(g.session, supply_account_id=a.id, now=business_now())
    except AppError as no:
        why_not = no.message(locale())
    return render_template(
        "console/emergency_room.html",
        a=a,
        why_not=why_not,
        refused=refused if refused != why_not else None,
        allowance=allowance_of(g.session, property_id=a.property_id),
        typed=request.form,
    )


def _hours() -> int:
    text = request.form.get("hours", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise EmergencyAllowanceWrong(
            hours_min=HOURS_RANGE[0], hours_max=HOURS_RANGE[1], least=format_yuan(FEN_RANGE[0]),
            most=format_yuan(FEN_RANGE[1]),
        )  # fmt: skip
    return int(text)
