"""What the ledger should do, said in whole numbers: the oracle of the state machine. No database, no product code.

Amounts are fen, accruals 10⁻⁶ fen. A deed either returns or raises Refused with the code the ledger should refuse it by;
a refused deed changes nothing.
"""

from dataclasses import dataclass, field

MICRO = 1_000_000


class Refused(Exception):
    """The ledger should refuse this, with this code."""


@dataclass
class Wallet:
    balance: int = 0
    held: int = 0
    accrued: int = 0
    carry: int = 0
    version: int = 0
    #: day → [rated, posted, times posted]
    days: dict[int, list[int]] = field(default_factory=dict)

    @property
    def available_fen(self) -> int:
        return self.balance - self.held - self.accrued // MICRO


@dataclass
class Entry:
    #: (wallet or None for the bank, wallet or None, amount): from, to, how much
    lines: tuple[tuple[int | None, int | None, int], ...]
    month: int
    is_reversal: bool = False
    reversed_by: str | None = None


@dataclass
class Hold:
    wallet: int
    amount: int
    floor: int
    expires: int
    state: str = "pending"
    posted_as: str | None = None


@dataclass
class Model:
    wallets: list[Wallet]
    entries: dict[str, Entry] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    def post(self, key: str, lines: tuple, month: int, floors: dict[int, int] | None = None) -> bool:
        """True when it was there already."""
        if month in self.closed:
            raise Refused("period_closed")
        if key in self.entries:
            if self.entries[key].lines != lines:
                raise Refused("idempotency_key_reused")
            return True
        for wallet, floor in (floors or {}).items():
            change = sum((to == wallet) * n - (from_ == wallet) * n for from_, to, n in lines)
            if change < 0 and self.wallets[wallet].available_fen + change < floor:
                raise Refused("wallet_too_low")
        self._move(lines)
        self.entries[key] = Entry(lines, month)
        return False

    def _move(self, lines: tuple) -> None:
        for from_, to, amount in lines:
            for wallet, signed in ((from_, -amount), (to, amount)):
                if wallet is not None:
                    self.wallets[wallet].balance += signed
                    self.wallets[wallet].version += 1

    def reverse(self, of: str, key: str, month: int) -> None:
        entry = self.entries[of]
        if entry.is_reversal:
            raise Refused("entry_is_reversal")
        if entry.reversed_by not in (None, key):
            raise Refused("already_reversed")
        if month in self.closed:
            raise Refused("period_closed")
        if entry.reversed_by is None:
            mirror = tuple((to, from_, amount) for from_, to, amount in entry.lines)
            self._move(mirror)
            self.entries[key] = Entry(mirror, month, is_reversal=True)
            entry.reversed_by = key

    def hold(self, key: str, wallet: int, amount: int, floor: int, expires: int) -> None:
        asked = Hold(wallet, amount, floor, expires)
        known = self.holds.get(key)
        if known is not None:
            if (known.wallet, known.amount, known.floor) != (wallet, amount, floor):
                raise Refused("idempotency_key_reused")
            return
        if self.wallets[wallet].available_fen < amount + floor:
            raise Refused("wallet_too_low")
        self.holds[key] = asked
        self.wallets[wallet].held += amount

    def resolve(self, key: str, state: str) -> None:
        hold = self.holds[key]
        if hold.state != "pending":
            raise Refused("hold_resolved")
        hold.state = state
        self.wallets[hold.wallet].held -= hold.amount

    def post_hold(self, key: str, month: int) -> None:
        hold = self.holds[key]
        if hold.state not in ("pending", "posted"):
            raise Refused("hold_resolved")
        replayed = self.post(f"posted:{key}", ((hold.wallet, None, hold.amount),), month)
        if not replayed:
            self.resolve(key, "posted")

    def expire(self, now: int) -> int:
        late = [key for key, hold in self.holds.items() if hold.state == "pending" and hold.expires <= now]
        for key in late:
            self.resolve(key, "expired")
        return len(late)

    def accrue(self, wallet: int, day: int, micro: int) -> None:
        self.wallets[wallet].days.setdefault(day, [0, 0, 0])[0] += micro
        self.wallets[wallet].accrued += micro

    def settle(self, wallet: int) -> int:
        """What one closing posts: one posting per day with a difference, unless it comes to less than a fen."""
        own, total = self.wallets[wallet], 0
        for _, facts in sorted(own.days.items(), key=lambda day: (day[0], day[1][2])):
            difference = facts[0] - facts[1]
            if difference:
                fen, own.carry = divmod(own.carry + difference, MICRO)
                facts[1], facts[2] = facts[0], facts[2] + 1
                own.balance, own.version = own.balance - fen, own.version + (fen != 0)
                own.accrued, total = own.accrued - fen * MICRO, total + fen
        return total
