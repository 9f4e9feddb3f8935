"""Supply accounts: opened with their wallet, agreement and price plan; reached only within the asker's scope."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.ledger.books import book_of, open_wallets
from app.billing.models import Agreement, Stop, SupplyAccount
from app.kernel.errors import AppError, NotFound
from app.meters.models import Mount

#: How far below zero a wallet may go before a zero stop, by class (domain.md 9).
OVERDRAFT_FEN = {"residential": 2_000, "commercial": 0, "dormitory": 0, "common": 0}


class AccountNumberTaken(AppError):
    """The number (户号) is already another supply account's in this property."""

    code, status = "account_number_taken", 409
    message_zh = "户号 {number} 在本项目已被使用。请核对后换一个户号。"
    message_en = "Account number {number} is taken in this property. Check it and choose another."


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed agreement to stop at zero: when, and where the paper is."""

    signed_on: date
    document: str


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What is needed to open a supply account. Amounts in fen; `overdraft_fen_max` None means the class's default."""

    property_id: int
    space_id: int
    party_id: int
    number: str
    usage_class: str
    opened_on: date
    utility: str = "electricity"
    overdraft_fen_max: int | None = None
    alarm_1_fen: int = 3_000
    alarm_2_fen: int = 1_000
    restore_fen_min: int = 0
    agreement: Signed | None = None


def open_supply_accounts(session: Session, *, accounts: Sequence[NewAccount]) -> list[SupplyAccount]:
    """Open supply accounts with their wallets and agreements, in the order given.

    Raises AccountNumberTaken, then NotFound when a property has no book.
    """
    _refuse_taken_numbers(session, accounts)
    books = {property_id: book_of(session, property_id=property_id) for property_id in _properties(accounts)}
    rows = [_row(new, book_id=books[new.property_id]) for new in accounts]
    session.add_all(rows)
    session.flush()  # allow: flush - wallets and agreements need the accounts' ids
    for book_id in books.values():
        ids = [row.id for row in rows if row.book_id == book_id]
        open_wallets(session, book_id=book_id, supply_account_ids=ids)
    session.add_all(_agreement(row, new.agreement) for row, new in zip(rows, accounts, strict=True) if new.agreement)
    return rows


def open_supply_account(session: Session, *, account: NewAccount) -> SupplyAccount:
    """Open one supply account. Raises AccountNumberTaken, NotFound."""
    return open_supply_accounts(session, accounts=[account])[0]


def sign_agreement(session: Session, *, account: SupplyAccount, signed: Signed) -> Agreement:
    """Put a signed zero-stop agreement on file; from now on the account may be stopped at zero."""
    agreement = _agreement(account, signed)
    session.add(agreement)
    return agreement


def access_supply_account(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> SupplyAccount:
    """The supply account when its property is among `allowed`. Raises NotFound, whether not yours or not there."""
    found = session.scalar(
        select(SupplyAccount).where(SupplyAccount.public_id == public_id, SupplyAccount.property_id.in_(allowed))
    )
    if found is None:
        raise NotFound(thing="supply_account")
    return found


def find_supply_account(session: Session, *, supply_account_id: int) -> SupplyAccount:
    """The supply account by internal id, for processes. Raises NotFound."""
    found = session.scalar(select(SupplyAccount).where(SupplyAccount.id == supply_account_id))
    if found is None:
        raise NotFound(thing="supply_account")
    return found


def switched_meters(session: Session, *, supply_account_id: int) -> list[int]:
    """Ids of the meters that serve the supply account now."""
    return list(
        session.scalars(
            select(Mount.meter_id)
            .where(Mount.supply_account_id == supply_account_id, Mount.ended_at.is_(None))
            .order_by(Mount.meter_id)
        )
    )


def accounts_of_meters(session: Session, *, meter_ids: Collection[int]) -> set[int]:
    """Ids of the supply accounts that these meters serve now, or have an open stop of."""
    mounted = select(Mount.supply_account_id).where(Mount.meter_id.in_(meter_ids), Mount.ended_at.is_(None))
    stopped = select(Stop.supply_account_id).where(
        Stop.meter_id.in_(meter_ids), Stop.state.in_(("ordered", "in_force", "restoring"))
    )
    return {id_ for id_ in (*session.scalars(mounted), *session.scalars(stopped)) if id_ is not None}


def _properties(accounts: Iterable[NewAccount]) -> list[int]:
    return sorted({new.property_id for new in accounts})


def _refuse_taken_numbers(session: Session, accounts: Sequence[NewAccount]) -> None:
    seen: set[tuple[int, str]] = set()
    for property_id in _properties(accounts):
        numbers = [new.number for new in accounts if new.property_id == property_id]
        taken = session.scalars(
            select(SupplyAccount.number).where(
                SupplyAccount.property_id == property_id, SupplyAccount.number.in_(numbers)
            )
        )
        seen.update((property_id, number) for number in taken)
    for new in accounts:
        if (new.property_id, new.number) in seen:
            raise AccountNumberTaken(number=new.number)
        seen.add((new.property_id, new.number))


def _row(new: NewAccount, *, book_id: int) -> SupplyAccount:
    overdraft = OVERDRAFT_FEN[new.usage_class] if new.overdraft_fen_max is None else new.overdraft_fen_max
    return SupplyAccount(
        property_id=new.property_id,
        book_id=book_id,
        number=new.number,
        party_id=new.party_id,
        space_id=new.space_id,
        utility=new.utility,
        usage_class=new.usage_class,
        overdraft_fen_max=overdraft,
        alarm_1_fen=new.alarm_1_fen,
        alarm_2_fen=new.alarm_2_fen,
        restore_fen_min=new.restore_fen_min,
        opened_on=new.opened_on,
    )


def _agreement(account: SupplyAccount, signed: Signed) -> Agreement:
    return Agreement(
        property_id=account.property_id,
        supply_account_id=account.id,
        signed_on=signed.signed_on,
        document=signed.document,
    )
