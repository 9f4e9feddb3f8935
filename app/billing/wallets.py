"""What a wallet can still pay: ledger balance − holds − accrual, true up to the last reading."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.billing.ledger.balances import KeptBalance, lock_balances, read_balances
from app.billing.ledger.books import wallet_ids
from app.kernel.errors import NotFound

#: `available_fen` in SQL over an alias `bal` of `ledger_balances`. Integer division truncates towards zero, so the
#: remainder is taken off first: an accrual may be negative while a correction waits for the day close.
AVAILABLE_FEN = (
    "bal.balance_fen - bal.held_fen"
    " - (bal.accrued_microfen - ((bal.accrued_microfen % 1000000) + 1000000) % 1000000) / 1000000"
)


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet of a supply account: its ledger account and its kept balance."""

    supply_account_id: int
    account_id: int
    kept: KeptBalance

    @property
    def available_fen(self) -> int:
        """Money left for use, in fen."""
        return self.kept.available_fen


def find_wallet(session: Session, *, supply_account_id: int) -> Wallet:
    """The wallet, unlocked. Raises NotFound."""
    account_id = _account_id(session, supply_account_id)
    return Wallet(supply_account_id, account_id, read_balances(session, [account_id])[account_id])


def lock_wallet(session: Session, *, supply_account_id: int) -> Wallet:
    """The wallet under lock until the unit of work ends: what is decided on it stays true. Raises NotFound."""
    account_id = _account_id(session, supply_account_id)
    return Wallet(supply_account_id, account_id, lock_balances(session, [account_id])[account_id])


def _account_id(session: Session, supply_account_id: int) -> int:
    found = wallet_ids(session, supply_account_ids=[supply_account_id])
    if supply_account_id not in found:
        raise NotFound(thing="wallet")
    return found[supply_account_id]
