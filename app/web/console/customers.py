"""Customers 客户: found by name, phone or ID number; masked, shown in full with a reason, changed, exported, erased."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import flash, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.erasure import erase_person
from app.kernel.clock import wall_now
from app.kernel.crypto import CipherBroken
from app.kernel.errors import AppError, NotFound
from app.permissions.policy import Permission
from app.reports.customer_export import everything_about
from app.reports.customers import (
    accounts_of,
    customers_after,
    roles_of,
    rooms_of,
    unmaskings_by_person,
    unmaskings_of,
)
from app.tenants import audit
from app.tenants.kek import KeyStoreAway
from app.tenants.models import Party
from app.tenants.parties import access_party, find_parties
from app.tenants.personal_data import (
    REASON_MAX,
    REASON_MIN,
    Masked,
    Personal,
    change_personal_data,
    masked,
    number_of,
    unmask,
)
from app.tenants.phones import looks_mistyped
from app.tenants.service import ReasonMissing
from app.web.console.blueprint import console
from app.web.console.customer_files import customer_zip
from app.web.console.evidence import actor_words
from app.web.guards import factor_facts, requires
from app.web.places import actor, place, scope
from app.web.words import _, locale

PAGE, FOUND_MAX, WORDS_MAX = 50, 50, 60
#: Seconds a full number stays on the screen.
SHOWN_S = 30
#: What is not asked for by a phone's permission.
DOCUMENTS = (Personal.ID_NUMBER, Personal.BANK_ACCOUNT)


@console.get("/customers")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def customers() -> ResponseReturnValue:
    """Customers in view, newest first, or those that match what was typed."""
    here = place(Permission.ACCOUNT_SUPPLY_READ)
    words = request.args.get("q", "").strip()[:WORDS_MAX]
    rows, following = _found(words, here.property_ids) if words else _newest(here.property_ids)
    rooms = rooms_of(g.session, party_ids=[party.id for party in rows])
    return render_template("console/customers.html", rows=rows, rooms=rooms, words=words, following=following)


def _found(words: str, allowed: Sequence[int]) -> tuple[Sequence[Party], str | None]:
    return find_parties(g.session, text=words, allowed=allowed, limit=FOUND_MAX), None


def _newest(allowed: Sequence[int]) -> tuple[Sequence[Party], str | None]:
    after = request.args.get("after", 0, type=int)
    rows = customers_after(g.session, allowed=allowed, after=after if 0 < after < 2**62 else 0, most=PAGE + 1)
    more = len(rows) > PAGE
    return rows[:PAGE], url_for("console.customers", after=rows[PAGE - 1].id) if more else None


@console.get("/customers/<uuid:public_id>")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def customer(public_id: UUID) -> ResponseReturnValue:
    """One customer. Raises NotFound for "not there" and "not yours" alike."""
    return _page(_access(public_id, Permission.ACCOUNT_SUPPLY_READ))


@console.get("/customers/<uuid:public_id>/numbers/<kind>")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def customer_number(public_id: UUID, kind: str) -> ResponseReturnValue:
    """One number, masked again: what the page asks for when a full one has stood there long enough. Raises NotFound."""
    if kind not in list(Personal):
        raise NotFound
    party = _access(public_id, Permission.ACCOUNT_SUPPLY_READ)
    return render_template("console/_customer_number.html", p=party, kind=kind, shown=None, **_numbers(party))


@console.post("/customers/<uuid:public_id>/phone")
@requires(Permission.PERSON_PHONE_UNMASK)
def customer_phone(public_id: UUID) -> ResponseReturnValue:
    """The full phone number, for a reason and for a moment. Raises NotFound."""
    return _unmask(public_id, Personal.PHONE, Permission.PERSON_PHONE_UNMASK)


@console.post("/customers/<uuid:public_id>/documents/<kind>")
@requires(Permission.PERSON_DOCUMENT_UNMASK)
def customer_document(public_id: UUID, kind: str) -> ResponseReturnValue:
    """The full ID number or bank account, for a reason and for a moment. Raises NotFound."""
    if kind not in DOCUMENTS:
        raise NotFound
    return _unmask(public_id, Personal(kind), Permission.PERSON_DOCUMENT_UNMASK)


@console.post("/customers/<uuid:public_id>")
@requires(Permission.PERSON_DATA_EDIT)
def customer_change(public_id: UUID) -> ResponseReturnValue:
    """Set or remove phone, ID number and bank account; an empty field changes nothing. Raises NotFound."""
    party = _access(public_id, Permission.PERSON_DATA_EDIT)
    given: dict[Personal, str | None] = {kind: None for kind in Personal if request.form.get(f"forget_{kind}") == "1"}
    given |= {kind: typed for kind in Personal if (typed := request.form.get(kind, "").strip()[:WORDS_MAX])}
    allowed = scope(Permission.PERSON_DATA_EDIT)
    try:
        with g.session.begin_nested():
            party = change_personal_data(g.session, public_id=public_id, allowed=allowed, given=given, by=actor())
    except NotFound:
        raise
    except AppError as refused:
        return _page(party, refused=refused.message(locale()), status=refused.status)
    flash(_("客户资料已保存。"), "good")
    account = number_of(g.session, party=party, kind=Personal.BANK_ACCOUNT)
    if given.get(Personal.BANK_ACCOUNT) and account and looks_mistyped(account):
        flash(_("银行卡号的校验位不符，可能输错了一位。已按填写保存，请再核对一次。"), "warn")
    return redirect(url_for("console.customer", public_id=public_id), 303)


@console.post("/customers/<uuid:public_id>/export")
@requires(Permission.PERSON_DATA_EXPORT, fresh_factor=True)
def customer_export(public_id: UUID) -> ResponseReturnValue:
    """Everything held about this person, as a file for them. Raises NotFound, ReasonMissing, KeyStoreAway."""
    party = _access(public_id, Permission.PERSON_DATA_EXPORT)
    reason = _reason()
    tables = everything_about(g.session, party=party)
    audit.record(
        g.session, deed="person:data:export", subject=f"parties:{party.id}", actor=actor(), property_id=party.property_id,
        reason=reason, facts={"rows": {name: len(rows) for name, rows in tables.items()}, **factor_facts()},
    )  # fmt: skip
    answer = make_response(customer_zip(tables))
    answer.headers["Content-Type"] = "application/zip"
    answer.headers["Content-Disposition"] = f'attachment; filename="customer-{party.public_id}.zip"'
    return answer


@console.post("/customers/<uuid:public_id>/erase")
@requires(Permission.PERSON_DATA_ERASE, fresh_factor=True)
def customer_erase(public_id: UUID) -> ResponseReturnValue:
    """Erase this person's data for good. Raises NotFound."""
    party, allowed = _access(public_id, Permission.PERSON_DATA_ERASE), scope(Permission.PERSON_DATA_ERASE)
    if request.form.get("sure") != "1":
        return _page(party, refused=_("请先勾选“我已核对本人申请，知道删除后无法恢复”。"), status=422)
    try:
        with g.session.begin_nested():
            erase_person(
                g.session, public_id=public_id, allowed=allowed, reason=request.form.get("reason", ""), by=actor(),
                facts=factor_facts(),
            )  # fmt: skip
    except NotFound:
        raise
    except AppError as refused:
        return _page(party, refused=refused.message(locale()), status=refused.status)
    flash(_("个人信息已删除。账目保留，不再显示姓名。"), "good")
    return redirect(url_for("console.customer", public_id=public_id), 303)


@console.get("/unmaskings")
@requires(Permission.AUDIT_LOG_READ)
def unmaskings() -> ResponseReturnValue:
    """Who looked at how many full numbers in the last day, week and month."""
    now = wall_now()
    day, week, month = (now - timedelta(days=days) for days in (1, 7, 30))
    rows = unmaskings_by_person(
        g.session, allowed=place(Permission.AUDIT_LOG_READ).property_ids, day=day, week=week, month=month
    )
    return render_template("console/unmaskings.html", rows=rows, actor_words=actor_words)


def _access(public_id: UUID, permission: Permission) -> Party:
    return access_party(g.session, public_id=public_id, allowed=scope(permission))


def _reason() -> str:
    """What was given as the reason. Raises ReasonMissing."""
    reason = request.form.get("reason", "").strip()[:REASON_MAX]
    if len(reason) < REASON_MIN:
        raise ReasonMissing()
    return reason


def _unmask(public_id: UUID, kind: Personal, permission: Permission) -> ResponseReturnValue:
    """A part for the page, or the page itself where no script runs; what refuses stands where the number would.

    Only where one may look at customers at all: a steward sees the numbers of their own buildings' people on the list of
    calls, and not the rest of the property's here.
    """
    allowed = sorted(set(scope(permission)) & set(scope(Permission.ACCOUNT_SUPPLY_READ)))
    party = access_party(g.session, public_id=public_id, allowed=allowed)
    shown, refused = None, ""
    try:
        with g.session.begin_nested():
            reason = request.form.get("reason", "")
            shown = unmask(g.session, public_id=public_id, kind=kind, allowed=allowed, reason=reason, by=actor())
    except NotFound:
        raise
    except AppError as error:
        refused = error.message(locale())
    if not request.headers.get("HX-Request"):
        return _page(party, refused=refused, shown={kind.value: shown} if shown else {})
    return render_template(
        "console/_customer_number.html",
        p=party,
        kind=kind.value,
        shown=shown,
        number_refused=refused,
        **_numbers(party),
    )


def _numbers(party: Party) -> dict[str, Any]:
    """The masked numbers; while they cannot be read, why, and the rest of the page goes on."""
    said: dict[str, Any] = {"kinds": kind_words(), "shown_s": SHOWN_S, "numbers_away": ""}
    try:
        return {**said, "numbers": masked(g.session, party=party)}
    except (KeyStoreAway, CipherBroken) as closed:
        return {**said, "numbers": Masked("", "", ""), "numbers_away": closed.message(locale())}


def kind_words() -> dict[str, str]:
    """What is encrypted about a customer, in words."""
    return {"phone": _("手机号"), "id_number": _("证件号"), "bank_account": _("银行账号")}


def role_words() -> dict[str, str]:
    """A customer's roles on a room, in words."""
    return {"owner": _("业主"), "occupant": _("住户"), "payer": _("付款人"), "contract": _("签约人")}


def _page(
    party: Party, *, refused: str = "", shown: dict[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    seen = unmaskings_of(g.session, party_id=party.id, most=10) if _may_see_lookers(party) else None
    page = render_template(
        "console/customer.html", p=party, refused=refused, shown_numbers=shown or {}, seen=seen,
        roles=roles_of(g.session, party_id=party.id), role_words=role_words(), actor_words=actor_words,
        accounts=accounts_of(g.session, tenant_id=g.tenant_id, party_id=party.id), **_numbers(party),
    )  # fmt: skip
    return page, status


def _may_see_lookers(party: Party) -> bool:
    return party.property_id in scope(Permission.AUDIT_LOG_READ)
