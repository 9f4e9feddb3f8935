"""Write a checked workbook: a few set-based statements per kind of thing, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.books import account_ids, open_book, wallet_ids
from app.billing.ledger.service import post_entry
from app.billing.models import PricePlan, SupplyAccount
from app.billing.onboarding.known import load_gateways, load_spaces
from app.billing.onboarding.rows import BalanceRow, MeterRow, Parsed, PartyRow, SpaceKey, SpaceRow
from app.billing.plans import assign_plan
from app.billing.supply_accounts import NewAccount, Signed, open_supply_accounts
from app.kernel.clock import local_day
from app.kernel.crypto import DataKey
from app.kernel.db import current_tenant_id
from app.meters.models import Meter, MeterModel, Mount
from app.meters.service import new_secret, register_gateway
from app.tenants.keys import data_key
from app.tenants.models import Building, Floor, Party, PartyRole, Property, Space
from app.tenants.parties import draft_party
from app.tenants.places import floor_name

#: One entry holds so many opening balances.
POSTINGS_MAX = 1_000
#: Who of a space's parties the supply account is made out to: the first of these there is.
CONTRACT_ORDER = ("contract", "occupant", "payer", "owner")


@dataclass(frozen=True, slots=True)
class Deed:
    """One commit: where, when, on which civil day, by whom, and the file it comes from."""

    site: Property
    at: datetime
    actor: str
    file_digest: bytes

    @property
    def day(self) -> date:
        """The property's civil day."""
        return local_day(self.at, self.site.time_zone)


@dataclass(frozen=True, slots=True)
class Written:
    """How much of each kind was written, and the secrets of the new gateways by number."""

    counts: dict[str, int]
    secrets: dict[str, str] = field(repr=False)


def write(session: Session, *, parsed: Parsed, deed: Deed) -> Written:
    """Write everything. The caller has checked every row."""
    _add_spaces(session, parsed.spaces, deed)
    spaces = load_spaces(session, property_id=deed.site.id)
    parties = _add_parties(session, parsed.parties, deed)
    _add_roles(session, parsed.parties, spaces, parties, deed)
    accounts = _open_accounts(session, parsed.meters, spaces, deed)
    gateways, told = _register_gateways(session, {row.gateway for row in parsed.meters if row.gateway}, deed)
    _add_meters(session, parsed.meters, spaces, accounts, gateways, deed)
    _post_openings(session, parsed.balances, accounts, deed)
    counts = {
        "spaces": len(parsed.spaces),
        "parties": len(set(parties.values())),
        "meters": len(parsed.meters),
        "supply_accounts": len(accounts),
        "balances": len(parsed.balances),
    }
    return Written(counts, told)


def _add_spaces(session: Session, rows: Sequence[SpaceRow], deed: Deed) -> None:
    buildings = _add_buildings(session, {row.building for row in rows}, deed)
    floors = _add_floors(session, {(buildings[row.building], row.level) for row in rows}, deed)
    session.add_all(
        Space(
            property_id=deed.site.id,
            building_id=buildings[row.building],
            floor_id=floors[buildings[row.building], row.level],
            name=row.space,
            usage_class=row.usage_class,
            area_cm2=row.area_cm2,
        )
        for row in rows
    )
    session.flush()  # allow: flush - roles, accounts and mounts name spaces by id


def _add_buildings(session: Session, names: Iterable[str], deed: Deed) -> dict[str, int]:
    there = select(Building.name, Building.id).where(Building.property_id == deed.site.id)
    known = dict(session.execute(there).all())
    made = [Building(property_id=deed.site.id, name=name) for name in sorted(set(names) - set(known))]
    session.add_all(made)
    session.flush()  # allow: flush - floors name buildings by id
    return known | {building.name: building.id for building in made}


def _add_floors(session: Session, wanted: Iterable[tuple[int, int]], deed: Deed) -> dict[tuple[int, int], int]:
    there = select(Floor.building_id, Floor.level, Floor.id).where(Floor.property_id == deed.site.id)
    known = {(building_id, level): floor_id for building_id, level, floor_id in session.execute(there)}
    made = [
        Floor(property_id=deed.site.id, building_id=building_id, level=level, name=floor_name(level))
        for building_id, level in sorted(set(wanted) - set(known))
    ]
    session.add_all(made)
    session.flush()  # allow: flush - spaces name floors by id
    return known | {(floor.building_id, floor.level): floor.id for floor in made}


def _add_parties(session: Session, rows: Sequence[PartyRow], deed: Deed) -> dict[tuple[object, ...], int]:
    """Person → party id: who is known by name and phone at this property is not registered twice."""
    key = data_key(session)
    known = _known_parties(session, rows, key, deed)
    drafts: dict[tuple[object, ...], Party] = {}
    for row in rows:
        if row.person not in known and row.person not in drafts:
            drafts[row.person] = draft_party(
                key, property_id=deed.site.id, name=row.name, kind=row.kind, phone=row.phone, id_number=row.id_number
            )
    session.add_all(drafts.values())
    session.flush()  # allow: flush - roles and accounts name parties by id
    return known | {person: party.id for person, party in drafts.items()}


def _known_parties(
    session: Session, rows: Sequence[PartyRow], key: DataKey, deed: Deed
) -> dict[tuple[object, ...], int]:
    blinds = {phone: key.blinds("phone", phone) for phone in {row.phone for row in rows if row.phone}}
    there = select(Party.phone_blind, Party.name, Party.id).where(
        Party.property_id == deed.site.id,
        Party.phone_blind.in_([blind for found in blinds.values() for blind in found]),
    )
    by_phone = {(blind, name): party_id for blind, name, party_id in session.execute(there)}
    return {
        row.person: by_phone[blind, row.name]
        for row in rows
        if row.phone
        for blind in blinds[row.phone]
        if (blind, row.name) in by_phone
    }


def _add_roles(
    session: Session,
    rows: Sequence[PartyRow],
    spaces: Mapping[SpaceKey, int],
    parties: Mapping[tuple[object, ...], int],
    deed: Deed,
) -> None:
    roles = [
        {
            "tenant_id": current_tenant_id(),
            "property_id": deed.site.id,
            "party_id": parties[row.person],
            "space_id": spaces[row.key],
            "role": row.role,
            "began_on": row.began_on or deed.day,
        }
        for row in rows
    ]
    if roles:
        session.execute(insert(PartyRole).on_conflict_do_nothing(), roles)


def _open_accounts(
    session: Session, rows: Sequence[MeterRow], spaces: Mapping[SpaceKey, int], deed: Deed
) -> dict[str, SupplyAccount]:
    open_book(session, legal_entity_id=deed.site.legal_entity_id, property_id=deed.site.id)
    leaders = {row.account: row for row in reversed(rows)}
    contract = _contract_parties(session, deed)
    classes = dict(session.execute(select(Space.id, Space.usage_class).where(Space.property_id == deed.site.id)).all())
    wanted = [
        _new_account(row, spaces[row.key], contract[spaces[row.key]], classes[spaces[row.key]], deed)
        for row in leaders.values()
    ]
    opened = open_supply_accounts(session, accounts=wanted)
    accounts = {account.number: account for account in opened}
    _assign_plans(session, leaders, accounts, deed)
    return accounts


def _new_account(row: MeterRow, space_id: int, party_id: int, usage_class: str, deed: Deed) -> NewAccount:
    signed = Signed(signed_on=row.signed_on, document=row.agreement) if row.signed_on and row.agreement else None
    return NewAccount(
        property_id=deed.site.id,
        space_id=space_id,
        party_id=party_id,
        number=row.account,
        usage_class=usage_class,
        opened_on=deed.day,
        overdraft_fen_max=row.overdraft_fen,
        agreement=signed,
    )


def _contract_parties(session: Session, deed: Deed) -> dict[int, int]:
    """Space id → party the supply account is made out to."""
    roles = session.execute(
        select(PartyRole.space_id, PartyRole.role, PartyRole.party_id)
        .where(PartyRole.property_id == deed.site.id, PartyRole.ended_on.is_(None))
        .order_by(PartyRole.id)
    )
    found: dict[int, tuple[int, int]] = {}
    for space_id, role, party_id in roles:
        rank = CONTRACT_ORDER.index(role)
        if space_id not in found or rank < found[space_id][0]:
            found[space_id] = (rank, party_id)
    return {space_id: party_id for space_id, (_, party_id) in found.items()}


def _assign_plans(
    session: Session, leaders: Mapping[str, MeterRow], accounts: Mapping[str, SupplyAccount], deed: Deed
) -> None:
    for plan in session.scalars(select(PricePlan).where(PricePlan.property_id == deed.site.id)).all():
        chosen = [accounts[number].id for number, row in leaders.items() if row.plan == plan.name]
        assign_plan(session, supply_account_ids=chosen, plan=plan, effective_from=deed.at)


def _add_meters(
    session: Session,
    rows: Sequence[MeterRow],
    spaces: Mapping[SpaceKey, int],
    accounts: Mapping[str, SupplyAccount],
    gateways: Mapping[str, int],
    deed: Deed,
) -> None:
    models = dict(session.execute(select(MeterModel.name, MeterModel.id)).all())
    meters = [
        Meter(
            property_id=deed.site.id,
            model_id=models[row.model],
            gateway_id=gateways[row.gateway] if row.gateway else None,
            number=row.number,
            address=row.address,
        )
        for row in rows
    ]
    session.add_all(meters)
    session.flush()  # allow: flush - mounts name meters by id
    session.add_all(
        Mount(
            property_id=deed.site.id,
            meter_id=meter.id,
            supply_account_id=accounts[row.account].id,
            space_id=spaces[row.key],
            began_at=deed.at,
            register_wh_first=row.register_wh,
            ratio=row.ratio,
        )
        for meter, row in zip(meters, rows, strict=True)
    )


def _register_gateways(session: Session, numbers: Iterable[str], deed: Deed) -> tuple[dict[str, int], dict[str, str]]:
    """The ids of all gateways by number, and the secrets of those that are new."""
    known = load_gateways(session, property_id=deed.site.id)
    told = {number: new_secret() for number in sorted(set(numbers) - set(known))}
    for number, secret in told.items():
        known[number] = register_gateway(session, property_id=deed.site.id, number=number, secret=secret).id
    return known, told


def _post_openings(
    session: Session, rows: Sequence[BalanceRow], accounts: Mapping[str, SupplyAccount], deed: Deed
) -> None:
    moved = [row for row in rows if row.balance_fen]
    if not moved:
        return
    book_id = next(iter(accounts.values())).book_id
    opening = account_ids(session, book_id=book_id, codes=["opening"])["opening"]
    wallets = wallet_ids(session, supply_account_ids=[account.id for account in accounts.values()])
    for number, start in enumerate(range(0, len(moved), POSTINGS_MAX)):
        lines = tuple(
            _opening(opening, wallets[accounts[row.account].id], row.balance_fen)
            for row in moved[start : start + POSTINGS_MAX]
        )
        post_entry(session, _entry(book_id, lines, number, deed))


def _opening(opening: int, wallet: int, balance_fen: int) -> Posting:
    debit, credit = (opening, wallet) if balance_fen > 0 else (wallet, opening)
    return Posting(debit, credit, abs(balance_fen), "期初余额")


def _entry(book_id: int, lines: tuple[Posting, ...], number: int, deed: Deed) -> EntryDraft:
    return EntryDraft(
        book_id=book_id,
        kind="opening",
        booked_on=deed.day,
        event_at=deed.at,
        currency="CNY",
        postings=lines,
        idempotency_key=f"opening:{deed.site.id}:{deed.file_digest.hex()[:32]}:{number}",
        actor=deed.actor,
        document=f"import:{deed.file_digest.hex()[:32]}",
    )
