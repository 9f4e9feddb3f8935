"""What rows must agree on with each other and with what the system knows already. Pure."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.billing.onboarding.columns import BALANCES, METERS, PARTIES, SPACES, SheetForm
from app.billing.onboarding.reasons import BadRow, shown
from app.billing.onboarding.rows import MeterRow, Parsed, PartyRow, SpaceKey

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Known:
    """What the system has already, as far as the file touches it. Names as in the sheets."""

    spaces: frozenset[SpaceKey] = frozenset()
    #: Spaces on which somebody has a role today.
    lodgings: frozenset[SpaceKey] = frozenset()
    meters: frozenset[str] = frozenset()
    #: (gateway number, address).
    addresses: frozenset[tuple[str, str]] = frozenset()
    accounts: frozenset[str] = frozenset()
    #: Model name → modulus in Wh.
    models: Mapping[str, int] = field(default_factory=dict)
    plans: frozenset[str] = frozenset()
    #: Gateway numbers of other properties or tenants.
    gateways_elsewhere: frozenset[str] = frozenset()


def check(parsed: Parsed, known: Known) -> list[BadRow]:
    """Everything wrong with rows that are right by themselves, in the order of the sheets."""
    return [
        *_check_spaces(parsed, known),
        *_check_parties(parsed, known),
        *_check_meters(parsed, known),
        *_check_balances(parsed),
    ]


def _bad(form: SheetForm, line: int, key: str, value: object, code: str, **details: object) -> BadRow:
    heading = next(column.zh for column in form.columns if column.key == key)
    return BadRow(form.title, line, heading, shown(str(value)), code, details)


def _twice(rows: Iterable[Any], key: Callable[[Any], Hashable]) -> Iterator[tuple[Any, int]]:
    """Rows whose key an earlier row has, with that row's number."""
    first: dict[Hashable, int] = {}
    for row in rows:
        line = first.setdefault(key(row), row.line)
        if line != row.line:
            yield row, line


def _check_spaces(parsed: Parsed, known: Known) -> Iterator[BadRow]:
    for row, first in _twice(parsed.spaces, lambda row: row.key):
        yield _bad(SPACES, row.line, "space", row.space, "twice", row=first)
    for row in parsed.spaces:
        if row.key in known.spaces:
            yield _bad(SPACES, row.line, "space", row.space, "space_exists")


def _check_parties(parsed: Parsed, known: Known) -> Iterator[BadRow]:
    there = _spaces_there(parsed, known)
    for row in parsed.parties:
        if row.key not in there:
            yield _space_unknown(PARTIES, row)
    for row, first in _twice(parsed.parties, lambda row: (row.person, row.key, row.role)):
        yield _bad(PARTIES, row.line, "name", row.name, "twice", row=first)


def _spaces_there(parsed: Parsed, known: Known) -> set[SpaceKey]:
    return {row.key for row in parsed.spaces} | parsed.spaces_mentioned | known.spaces


def _space_unknown(form: SheetForm, row: PartyRow | MeterRow) -> BadRow:
    return _bad(form, row.line, "space", f"{row.building} {row.space}", "space_unknown")


def _check_meters(parsed: Parsed, known: Known) -> Iterator[BadRow]:
    there = _spaces_there(parsed, known)
    lodgings = {row.key for row in parsed.parties} | parsed.lodgings_mentioned | known.lodgings
    for row in parsed.meters:
        if row.key not in there:
            yield _space_unknown(METERS, row)
        elif row.key not in lodgings:
            yield _bad(METERS, row.line, "account", row.account, "account_without_party")
        yield from _check_device(row, known)
        yield from _check_account(row, known)
    yield from _check_meters_together(parsed)


def _check_device(row: MeterRow, known: Known) -> Iterator[BadRow]:
    if row.number in known.meters:
        yield _bad(METERS, row.line, "number", row.number, "meter_exists")
    if row.gateway in known.gateways_elsewhere:
        yield _bad(METERS, row.line, "gateway", row.gateway, "gateway_elsewhere")
    if row.gateway and (row.gateway, row.address) in known.addresses:
        yield _bad(METERS, row.line, "address", row.address, "address_exists")
    if row.model not in known.models:
        yield _bad(METERS, row.line, "model", row.model, "model_unknown", known=_some(known.models))
    elif row.register_wh >= known.models[row.model]:
        yield _bad(METERS, row.line, "register_wh", row.register_wh, "register_beyond_meter")


def _check_account(row: MeterRow, known: Known) -> Iterator[BadRow]:
    if row.account in known.accounts:
        yield _bad(METERS, row.line, "account", row.account, "account_exists")
    if row.plan not in known.plans:
        yield _bad(METERS, row.line, "plan", row.plan, "plan_unknown", known=_some(known.plans))
    if (row.agreement is None) != (row.signed_on is None):
        yield _bad(METERS, row.line, "agreement", row.agreement or row.signed_on, "agreement_incomplete")


def _check_meters_together(parsed: Parsed) -> Iterator[BadRow]:
    for row, first in _twice(parsed.meters, lambda row: row.number):
        yield _bad(METERS, row.line, "number", row.number, "twice", row=first)
    for row, first in _twice([r for r in parsed.meters if r.gateway], lambda row: (row.gateway, row.address)):
        yield _bad(METERS, row.line, "address", row.address, "twice", row=first)
    leaders: dict[str, MeterRow] = {}
    for row in parsed.meters:
        leader = leaders.setdefault(row.account, row)
        if leader.account_facts != row.account_facts:
            yield _bad(METERS, row.line, "account", row.account, "account_differs", row=leader.line)


def _check_balances(parsed: Parsed) -> Iterator[BadRow]:
    accounts = {row.account for row in parsed.meters} | parsed.accounts_mentioned
    for row, first in _twice(parsed.balances, lambda row: row.account):
        yield _bad(BALANCES, row.line, "account", row.account, "twice", row=first)
    for row in parsed.balances:
        if row.account not in accounts:
            yield _bad(BALANCES, row.line, "account", row.account, "account_unknown")


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)[:_NAMES_SHOWN]
    return "、".join(listed) if listed else "—"
