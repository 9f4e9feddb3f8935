"""Parties: how they are registered, found and given roles. What is personal about them: `tenants.personal_data`."""

import uuid
from collections.abc import Collection
from contextlib import suppress
from datetime import date

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.kernel.crypto import DataKey
from app.kernel.db import uuid7
from app.kernel.errors import AppError, NotFound
from app.tenants.access import or_not_found, within
from app.tenants.kek import KeyStoreAway
from app.tenants.keys import data_key, place
from app.tenants.models import Party, PartyRole, Property, Space
from app.tenants.phones import (
    IdNumberWrong,
    PhoneUnreadable,
    last_four,
    normalise_id_number,
    normalise_phone,
)

ROLES = ("owner", "occupant", "payer", "contract")
FOUND_MAX = 50


class RoleUnknown(AppError):
    """Not one of the roles a party has on a space."""

    code, status = "role_unknown", 422
    message_zh = "角色“{role}”不存在。请选择业主、住户、付款人或签约人。"
    message_en = "There is no role “{role}”. Choose owner, occupant, payer or contract party."


class RoleHeld(AppError):
    """The party holds this role on this space already."""

    code, status = "role_held", 409
    message_zh = "该客户在此房间已是该角色。如需更改，请先结束原角色。"
    message_en = "This party holds the role on this space already. End the present one first to change it."


class RoleEndsBeforeBegin(AppError):
    """The last day lies before the first."""

    code, status = "role_ends_before_begin", 422
    message_zh = "结束日期不能早于开始日期 {began_on}。请修改结束日期。"
    message_en = "The last day cannot lie before the first day {began_on}. Please change it."


def register_party(
    session: Session,
    *,
    property_id: int,
    name: str,
    kind: str = "person",
    phone: str | None = None,
    id_number: str | None = None,
) -> Party:
    """A person or company of a property; phone and ID number are ciphertext from here on.

    Raises NotFound, PhoneUnreadable, IdNumberWrong.
    """
    if session.scalar(select(Property.id).where(Property.id == property_id)) is None:
        raise NotFound()
    party = draft_party(
        data_key(session), property_id=property_id, name=name, kind=kind, phone=phone, id_number=id_number
    )
    session.add(party)
    session.flush()  # allow: flush - roles and supply accounts name the party by its id
    return party


def draft_party(
    key: DataKey, *, property_id: int, name: str, kind: str, phone: str | None, id_number: str | None
) -> Party:
    """A party not yet in any session, for one registration or for an import of thousands."""
    party = Party(public_id=uuid7(), property_id=property_id, name=name.strip(), kind=kind)
    if phone:
        put_phone(key, party, normalise_phone(phone))
    if id_number:
        put_id_number(key, party, normalise_id_number(id_number))
    return party


def put_phone(key: DataKey, party: Party, number: str) -> None:
    """Set the phone number, normalised, with its digests."""
    party.phone_cipher = key.encrypt(number, place(table="parties", column="phone", row=party.public_id))
    party.phone_blind = key.blind("phone", number)
    party.phone_last4_blind = key.blind("phone_last4", last_four(number))


def put_id_number(key: DataKey, party: Party, number: str) -> None:
    """Set the ID number, normalised, with its digest."""
    party.id_number_cipher = key.encrypt(number, place(table="parties", column="id_number", row=party.public_id))
    party.id_number_blind = key.blind("id_number", number)


def put_bank_account(key: DataKey, party: Party, number: str) -> None:
    """Set the bank account, normalised. Nobody searches by it."""
    party.bank_account_cipher = key.encrypt(number, place(table="parties", column="bank_account", row=party.public_id))


def give_role(session: Session, *, party: Party, space: Space, role: str, began_on: date) -> PartyRole:
    """Make a party owner, occupant, payer or contract party of a space.

    Raises RoleUnknown, NotFound, RoleHeld.
    """
    if role not in ROLES:
        raise RoleUnknown(role=role)
    if party.property_id != space.property_id:
        raise NotFound()
    held = select(PartyRole.id).where(
        PartyRole.space_id == space.id,
        PartyRole.party_id == party.id,
        PartyRole.role == role,
        PartyRole.ended_on.is_(None),
    )
    if session.scalar(held) is not None:
        raise RoleHeld()
    given = PartyRole(property_id=space.property_id, party_id=party.id, space_id=space.id, role=role, began_on=began_on)
    session.add(given)
    session.flush()  # allow: flush - the role is ended by its id
    return given


def end_role(session: Session, *, role_id: int, ended_on: date, allowed: Collection[int]) -> None:
    """End a role on a day; the row stays as history. Raises NotFound, RoleEndsBeforeBegin."""
    query = select(PartyRole).where(
        PartyRole.id == role_id, PartyRole.ended_on.is_(None), within(PartyRole.property_id, allowed)
    )
    held = or_not_found(session.scalar(query.with_for_update()))
    if ended_on < held.began_on:
        raise RoleEndsBeforeBegin(began_on=held.began_on.isoformat())
    held.ended_on = ended_on


def access_party(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> Party:
    """The party, if its property is within `allowed`. Raises NotFound."""
    query = select(Party).where(Party.public_id == public_id, within(Party.property_id, allowed))
    return or_not_found(session.scalar(query))


def find_parties(session: Session, *, text: str, allowed: Collection[int], limit: int = 20) -> list[Party]:
    """Parties by full phone number, by its last four digits, or by the beginning of the name; name order."""
    wanted = text.strip()
    if not wanted:
        return []
    query = select(Party).where(within(Party.property_id, allowed), or_(*_ways(session, wanted)))
    return list(session.scalars(query.order_by(Party.name, Party.id).limit(min(limit, FOUND_MAX))))


def _ways(session: Session, wanted: str) -> list[ColumnElement[bool]]:
    # A prefix as a range: LIKE cannot be an index condition under row-level security.
    ways: list[ColumnElement[bool]] = [Party.name.between(wanted, wanted + "\U0010ffff")]
    with suppress(KeyStoreAway):  # names are found all the same
        ways += [column.in_(digests) for column, digests in _digests(session, wanted)]
    return ways


def _digests(session: Session, wanted: str) -> list[tuple[InstrumentedAttribute[bytes | None], list[bytes]]]:
    """The blind indexes in which these words may stand: of a phone, of its end, of an ID number."""
    found: list[tuple[InstrumentedAttribute[bytes | None], list[bytes]]] = []
    if wanted.isascii() and wanted.isdigit() and len(wanted) == 4:
        found.append((Party.phone_last4_blind, data_key(session).blinds("phone_last4", wanted)))
    with suppress(PhoneUnreadable):  # not a phone number: then it is a name
        found.append((Party.phone_blind, data_key(session).blinds("phone", normalise_phone(wanted))))
    with suppress(IdNumberWrong):
        found.append((Party.id_number_blind, data_key(session).blinds("id_number", normalise_id_number(wanted))))
    return found


def phone_of(session: Session, *, party: Party) -> str | None:
    """The number for a message that is about to be sent; None when there is none. Never for a screen."""
    if party.phone_cipher is None:
        return None
    return data_key(session).decrypt(party.phone_cipher, place(table="parties", column="phone", row=party.public_id))
