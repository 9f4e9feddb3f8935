"""A party's phone, ID number and bank account: masked for everybody, in full for a person with a reason, changed, counted.

Every look at a full number leaves a record that names whose and which and why, never the number itself.
"""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.crypto import DataKey
from app.kernel.errors import AppError
from app.tenants import audit
from app.tenants.access import or_not_found, within
from app.tenants.keys import data_key, place
from app.tenants.models import Party
from app.tenants.parties import access_party, phone_of, put_bank_account, put_id_number, put_phone
from app.tenants.phones import mask_phone, mask_tail, normalise_bank_account, normalise_id_number, normalise_phone
from app.tenants.service import ReasonMissing

REASON_MIN, REASON_MAX = 2, 200


class Personal(StrEnum):
    """What is encrypted about a party; the value is the column's name without its ending."""

    PHONE = "phone"
    ID_NUMBER = "id_number"
    BANK_ACCOUNT = "bank_account"


#: Each with a deed of its own in the audit log.
UNMASK_DEEDS = {
    Personal.PHONE: "person:phone:unmask",
    Personal.ID_NUMBER: "person:document:unmask",
    Personal.BANK_ACCOUNT: "person:account:unmask",
}
_READ: Mapping[Personal, Callable[[str], str]] = {
    Personal.PHONE: normalise_phone,
    Personal.ID_NUMBER: normalise_id_number,
    Personal.BANK_ACCOUNT: normalise_bank_account,
}
_PUT: Mapping[Personal, Callable[[DataKey, Party, str], None]] = {
    Personal.PHONE: put_phone,
    Personal.ID_NUMBER: put_id_number,
    Personal.BANK_ACCOUNT: put_bank_account,
}


class PhoneNotOnFile(AppError):
    """The party has no phone number."""

    code, status = "phone_not_on_file", 404
    message_zh = "该客户没有登记手机号。请先补登。"
    message_en = "No phone number is on file for this party. Register one first."


class NumberNotOnFile(AppError):
    """The party has no ID number, or no bank account."""

    code, status = "number_not_on_file", 404
    message_zh = "该客户没有登记此项资料。请先补登。"
    message_en = "This is not on file for the customer. Register it first."


class PartyErased(AppError):
    """The personal data were erased on request."""

    code, status = "party_erased", 409
    message_zh = "该客户的个人信息已按申请删除，不能再查看或补登。如重新入住，请新建客户。"
    message_en = "This customer's personal data were erased on request. Register them anew if they move in again."


@dataclass(frozen=True, slots=True)
class Masked:
    """What a screen shows of each; '' where nothing is on file."""

    phone: str
    id_number: str
    bank_account: str


def masked(session: Session, *, party: Party) -> Masked:
    """`138****5678`, `****002X`. Raises KeyStoreAway, CipherBroken."""
    shown = {kind.value: _masked(kind, number_of(session, party=party, kind=kind)) for kind in Personal}
    return Masked(**shown)


def masked_phone(session: Session, *, party: Party) -> str:
    """What screens show: `138****5678`; '' when there is none."""
    return _masked(Personal.PHONE, phone_of(session, party=party))


def number_of(session: Session, *, party: Party, kind: Personal) -> str | None:
    """In full; None when there is none. Never for a screen, and for a file only where its taking is recorded."""
    cipher: bytes | None = getattr(party, f"{kind.value}_cipher")
    if cipher is None:
        return None
    return data_key(session).decrypt(cipher, place(table="parties", column=kind.value, row=party.public_id))


def unmask(
    session: Session, *, public_id: uuid.UUID, kind: Personal, allowed: Collection[int], reason: str, by: Actor
) -> str:
    """The full number for a person with a reason; the audit log keeps who, whose, which and why.

    Raises NotFound, ReasonMissing, PartyErased, PhoneNotOnFile, NumberNotOnFile, KeyStoreAway, CipherBroken.
    """
    party = access_party(session, public_id=public_id, allowed=allowed)
    why = reason.strip()[:REASON_MAX]
    if len(why) < REASON_MIN:
        raise ReasonMissing()
    if party.erased_at is not None:
        raise PartyErased()
    number = number_of(session, party=party, kind=kind)
    if number is None:
        raise PhoneNotOnFile() if kind is Personal.PHONE else NumberNotOnFile()
    audit.record(
        session,
        deed=UNMASK_DEEDS[kind],
        subject=f"parties:{party.id}",
        actor=by,
        property_id=party.property_id,
        reason=why,
    )
    return number


def unmask_phone(session: Session, *, public_id: uuid.UUID, allowed: Collection[int], reason: str, by: Actor) -> str:
    """The full phone number, as `unmask` gives it.

    Raises NotFound, ReasonMissing, PartyErased, PhoneNotOnFile, KeyStoreAway, CipherBroken.
    """
    return unmask(session, public_id=public_id, kind=Personal.PHONE, allowed=allowed, reason=reason, by=by)


def change_phone(session: Session, *, party: Party, phone: str) -> None:
    """Replace the phone number. Raises PhoneUnreadable, KeyStoreAway."""
    put_phone(data_key(session), party, normalise_phone(phone))


def change_personal_data(
    session: Session, *, public_id: uuid.UUID, allowed: Collection[int], given: Mapping[Personal, str | None], by: Actor
) -> Party:
    """Set what is given, remove what is given as None; the record says which changed and nothing of what.

    Raises NotFound, PartyErased, PhoneUnreadable, IdNumberWrong, BankAccountWrong, KeyStoreAway.
    """
    query = select(Party).where(Party.public_id == public_id, within(Party.property_id, allowed))
    party = or_not_found(session.scalar(query.with_for_update(), execution_options={"populate_existing": True}))
    if party.erased_at is not None:
        raise PartyErased()
    fresh = {kind: None if typed is None else _READ[kind](typed) for kind, typed in given.items()}
    changed = {kind: new for kind, new in fresh.items() if new != number_of(session, party=party, kind=kind)}
    before = {kind.value: _on_file(party, kind) for kind in changed}
    for kind, number in changed.items():
        forget(party, kind) if number is None else _PUT[kind](data_key(session), party, number)
    if changed:
        after = {kind.value: "changed" if number else "none" for kind, number in changed.items()}
        audit.record(
            session,
            deed="person:data:change",
            subject=f"parties:{party.id}",
            actor=by,
            property_id=party.property_id,
            before=before,
            after=after,
        )
    return party


def forget(party: Party, kind: Personal) -> None:
    """Remove a number with its digests."""
    setattr(party, f"{kind.value}_cipher", None)
    if kind is Personal.PHONE:
        party.phone_blind = party.phone_last4_blind = None
    if kind is Personal.ID_NUMBER:
        party.id_number_blind = None


def _on_file(party: Party, kind: Personal) -> str:
    return "on file" if getattr(party, f"{kind.value}_cipher") is not None else "none"


def _masked(kind: Personal, number: str | None) -> str:
    if not number:
        return ""
    return mask_phone(number) if kind is Personal.PHONE else mask_tail(number)
