"""The rows of the workbook as facts, and everything that is wrong with a row taken by itself. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from app.billing.onboarding.cells import CellBad, Value, read_cell
from app.billing.onboarding.columns import BALANCES, METERS, PARTIES, SPACES, Column, SheetForm
from app.billing.onboarding.reasons import BadRow, shown
from app.billing.onboarding.workbook import RawRow

#: Building and door number: how the sheets name a space.
SpaceKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SpaceRow:
    """A space to be made."""

    line: int
    building: str
    level: int
    space: str
    usage_class: str
    area_cm2: int | None

    @property
    def key(self) -> SpaceKey:
        """Building and door number."""
        return self.building, self.space


@dataclass(frozen=True, slots=True)
class PartyRow:
    """A party in a role on a space."""

    line: int
    building: str
    space: str
    name: str
    kind: str
    phone: str | None
    id_number: str | None
    role: str
    began_on: date | None

    @property
    def key(self) -> SpaceKey:
        """The space it has to do with."""
        return self.building, self.space

    @property
    def person(self) -> tuple[object, ...]:
        """Who it is: rows with the same name, phone and ID number are one party; without either, each is its
        own.
        """
        if self.phone or self.id_number:
            return self.name, self.kind, self.phone, self.id_number
        return self.name, self.line


@dataclass(frozen=True, slots=True)
class MeterRow:
    """A meter to be mounted on a space for a supply account."""

    line: int
    building: str
    space: str
    number: str
    address: str
    model: str
    gateway: str | None
    account: str
    ratio: int
    register_wh: int
    plan: str
    overdraft_fen: int | None
    agreement: str | None
    signed_on: date | None

    @property
    def key(self) -> SpaceKey:
        """The space it serves."""
        return self.building, self.space

    @property
    def account_facts(self) -> tuple[object, ...]:
        """What all rows of one supply account must agree on."""
        return self.key, self.plan, self.overdraft_fen, self.agreement, self.signed_on


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """The opening balance of a supply account; negative when it is owed."""

    line: int
    account: str
    balance_fen: int


@dataclass(slots=True)
class Parsed:
    """Good rows, what is wrong with the others, and which names the bad rows mention all the same."""

    spaces: list[SpaceRow] = field(default_factory=list)
    parties: list[PartyRow] = field(default_factory=list)
    meters: list[MeterRow] = field(default_factory=list)
    balances: list[BalanceRow] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    #: Spaces, spaces with parties, and accounts of bad rows: one mistake is not reported again wherever it is
    #: named.
    spaces_mentioned: set[SpaceKey] = field(default_factory=set)
    lodgings_mentioned: set[SpaceKey] = field(default_factory=set)
    accounts_mentioned: set[str] = field(default_factory=set)


def parse(sheets: Mapping[str, Sequence[RawRow]]) -> Parsed:
    """Read every row of every sheet; nothing is dropped without a bad row that says so."""
    parsed = Parsed()
    for line, facts in _good_rows(SPACES, sheets, parsed):
        parsed.spaces.append(SpaceRow(line, **facts))
    for line, facts in _good_rows(PARTIES, sheets, parsed):
        parsed.parties.append(PartyRow(line, **(facts | {"kind": facts["kind"] or "person"})))
    for line, facts in _good_rows(METERS, sheets, parsed):
        parsed.meters.append(MeterRow(line, **(facts | {"ratio": facts["ratio"] or 1})))
    for line, facts in _good_rows(BALANCES, sheets, parsed):
        parsed.balances.append(BalanceRow(line, **facts))
    return parsed


def _good_rows(
    form: SheetForm, sheets: Mapping[str, Sequence[RawRow]], parsed: Parsed
) -> list[tuple[int, dict[str, Any]]]:
    good = []
    for row in sheets[form.key]:
        facts, bad = _read_row(form, row)
        if bad:
            parsed.bad.extend(bad)
            _mention(form, facts, parsed)
        else:
            good.append((row.line, facts))
    return good


def _read_row(form: SheetForm, row: RawRow) -> tuple[dict[str, Any], list[BadRow]]:
    facts: dict[str, Value] = {}
    bad = []
    for column in form.columns:
        try:
            facts[column.key] = read_cell(column, row.cells[column.key])
            _refuse_negative(column, facts[column.key])
        except CellBad as broken:
            text = shown(row.cells[column.key].text)
            bad.append(BadRow(form.title, row.line, column.zh, text, broken.code, broken.details))
    return facts, bad


def _refuse_negative(column: Column, value: Value) -> None:
    """Of all amounts only a balance may be owed."""
    if column.key == "overdraft_fen" and isinstance(value, int) and value < 0:
        raise CellBad("amount_negative")


def _mention(form: SheetForm, facts: Mapping[str, Any], parsed: Parsed) -> None:
    if "building" in facts and "space" in facts:
        key = (facts["building"], facts["space"])
        parsed.spaces_mentioned.update({key} if form is SPACES else ())
        parsed.lodgings_mentioned.update({key} if form is PARTIES else ())
    if form is METERS and "account" in facts:
        parsed.accounts_mentioned.add(facts["account"])
