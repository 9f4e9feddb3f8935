"""Books and their accounts: opened once, found by code."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.ledger.chart import PER_SUPPLY_ACCOUNT, STANDARD
from app.billing.ledger.models import Balance, Book, LedgerAccount, Period
from app.kernel.db import current_tenant_id
from app.kernel.errors import NotFound


def open_book(session: Session, *, legal_entity_id: int, property_id: int, currency: str = "CNY") -> int:
    """Open the books of a legal entity at a property with the standard chart; the same book when it is there."""
    facts = {"legal_entity_id": legal_entity_id, "property_id": property_id, "currency": currency}
    made = insert(Book).values(tenant_id=current_tenant_id(), **facts).on_conflict_do_nothing().returning(Book.id)
    book_id = session.scalar(made)
    if book_id is None:
        return book_of(session, property_id=property_id, legal_entity_id=legal_entity_id)
    rows = [
        {"tenant_id": current_tenant_id(), "book_id": book_id, "currency": currency, "code": kind.code}
        | {"side": kind.side, "keeps_balance": False}
        for kind in STANDARD.values()
    ]
    session.execute(insert(LedgerAccount), rows)
    return book_id


def book_of(session: Session, *, property_id: int, legal_entity_id: int | None = None) -> int:
    """The book of a property (of this legal entity when several collect there). Raises NotFound."""
    query = select(Book.id).where(Book.property_id == property_id).order_by(Book.id).limit(1)
    if legal_entity_id is not None:
        query = query.where(Book.legal_entity_id == legal_entity_id)
    found = session.scalar(query)
    if found is None:
        raise NotFound(thing="book")
    return found


def open_wallet(session: Session, *, book_id: int, supply_account_id: int, code: str = "wallet") -> int:
    """Open the kept ledger account `code` of a supply account with a zero balance; the same one when it is there."""
    return open_wallets(session, book_id=book_id, supply_account_ids=[supply_account_id], code=code)[supply_account_id]


def open_wallets(
    session: Session, *, book_id: int, supply_account_ids: Sequence[int], code: str = "wallet"
) -> dict[int, int]:
    """Open kept accounts for many supply accounts of one book. Returns supply account id → ledger account id."""
    kind = PER_SUPPLY_ACCOUNT[code]
    book = session.get_one(Book, (current_tenant_id(), book_id))
    rows = [
        {"tenant_id": current_tenant_id(), "book_id": book_id, "currency": book.currency, "code": code}
        | {"side": kind.side, "keeps_balance": True, "supply_account_id": supply_account_id}
        for supply_account_id in supply_account_ids
    ]
    made = insert(LedgerAccount).on_conflict_do_nothing().returning(LedgerAccount.id)
    account_ids = list(session.scalars(made, rows))
    if account_ids:
        session.execute(insert(Balance), [{"tenant_id": current_tenant_id(), "account_id": id_} for id_ in account_ids])
    return wallet_ids(session, supply_account_ids=supply_account_ids, code=code)


# One at a time by the unique index: as a list, PostgreSQL may compare every account of the tenant with every id.
_KEPT = text(
    """
    SELECT s.id AS supply_account_id, k.id
      FROM unnest(CAST(:ids AS bigint[])) AS s(id)
     CROSS JOIN LATERAL (
           SELECT a.id FROM ledger_accounts AS a
            WHERE a.tenant_id = :tenant AND a.supply_account_id = s.id AND a.code = :code
           OFFSET 0) AS k
    """
)


def wallet_ids(session: Session, *, supply_account_ids: Sequence[int], code: str = "wallet") -> dict[int, int]:
    """Supply account id → ledger account id of its kept account `code`; those without one are absent."""
    given = {"tenant": current_tenant_id(), "ids": list(supply_account_ids), "code": code}
    return {supply_account_id: id_ for supply_account_id, id_ in session.execute(_KEPT, given)}


def account_ids(session: Session, *, book_id: int, codes: Sequence[str]) -> dict[str, int]:
    """Code → id of standard accounts of a book. Raises NotFound for a code the book does not have."""
    rows = session.execute(
        select(LedgerAccount.code, LedgerAccount.id).where(
            LedgerAccount.book_id == book_id,
            LedgerAccount.code.in_(codes),
            LedgerAccount.supply_account_id.is_(None),
        )
    )
    found = dict(rows.all())
    missing = [code for code in codes if code not in found]
    if missing:
        raise NotFound(thing=f"account {missing[0]}")
    return found


def open_standard(session: Session, *, book_id: int, code: str) -> int:
    """The id of a standard account; opened now in a book that is older than this line of the chart."""
    found = select(LedgerAccount.id).where(
        LedgerAccount.book_id == book_id, LedgerAccount.code == code, LedgerAccount.supply_account_id.is_(None)
    )
    known = session.scalar(found)
    if known is not None:
        return known
    book, kind = session.get_one(Book, (current_tenant_id(), book_id)), STANDARD[code]
    row = {"book_id": book_id, "currency": book.currency, "code": code, "side": kind.side, "keeps_balance": False}
    session.execute(insert(LedgerAccount).values(tenant_id=current_tenant_id(), **row).on_conflict_do_nothing())
    return session.scalars(found).one()


def open_period(session: Session, *, book_id: int, month: date) -> None:
    """Make sure the month's row exists; a closed month stays closed."""
    row = insert(Period).values(tenant_id=current_tenant_id(), book_id=book_id, month=month)
    session.execute(row.on_conflict_do_nothing())
