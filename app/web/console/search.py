"""The search box: room, name, account number, meter number, phone."""

from collections.abc import Sequence
from typing import Any

from flask import g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.engine import Row

from app.kernel.crypto import DataKey
from app.permissions.policy import Permission
from app.reports.search import find_accounts, looks_like_phone
from app.tenants.kek import KeyStoreAway
from app.tenants.keys import data_key
from app.tenants.phones import PhoneUnreadable, normalise_phone
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import scope

WORDS_MAX = 60
MOBILE_DIGITS, LAST_DIGITS = 11, 4


@console.get("/search")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def search() -> ResponseReturnValue:
    """Answers below the box while typing; a page of answers, or straight to the only one, on Enter."""
    words = request.args.get("q", "")[:WORDS_MAX]
    to_counter = request.args.get("to") == "counter"
    found = answers(words, Permission.MONEY_TOPUP_SELL if to_counter else Permission.ACCOUNT_SUPPLY_READ)
    target = "console.counter_account" if to_counter else "console.account"
    if request.headers.get("HX-Request"):
        return render_template("console/_answers.html", found=found, query=words, target=target)
    if len(found) == 1:
        return redirect(url_for(target, public_id=found[0].public_id))
    return render_template("console/search.html", found=found, query=words, target=target)


def answers(words: str, permission: Permission) -> Sequence[Row[Any]]:
    """Supply accounts in scope that match what was typed."""
    key = _key_for(words)
    digits = words.replace(" ", "").replace("-", "")
    number = _phone(digits)
    full = key.blinds("phone", number) if key and number else []
    last4 = key.blinds("phone_last4", digits) if key and len(digits) == LAST_DIGITS else []
    return find_accounts(
        g.session,
        tenant_id=g.tenant_id,
        property_ids=scope(permission),
        words=words,
        phone_blinds=full,
        last4_blinds=last4,
    )


def _key_for(words: str) -> DataKey | None:
    """What phones are found with; None for other words, and while the key store is away: rooms are found all the same."""
    if not looks_like_phone(words):
        return None
    try:
        return data_key(g.session)
    except KeyStoreAway:
        return None


def _phone(digits: str) -> str | None:
    """A mobile number; None for eleven digits that are something else, such as a meter."""
    if len(digits) != MOBILE_DIGITS:
        return None
    try:
        return normalise_phone(digits)
    except PhoneUnreadable:
        return None
