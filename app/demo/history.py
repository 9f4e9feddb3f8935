"""Playing the past: readings, prices, payments and day closes in the order in which they happened."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy.orm import Session

from app.billing.day_close import close_day
from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.books import account_ids, wallet_ids
from app.billing.ledger.service import post_entry
from app.billing.models import SupplyAccount
from app.billing.payments.counter import take_payment
from app.billing.prepaid import price_dirty
from app.demo.build import Built
from app.demo.registers import registers_at
from app.demo.town import Site, Town
from app.kernel.actor import Actor
from app.kernel.clock import move_clock
from app.kernel.money import CNY, floor_fen
from app.meters.ingest import NewReading, take_readings
from app.meters.simulator.meter import MeterSpec

MICROFEN_PER_YUAN_PER_KWH = 100_000
#: Share of the past's cost that was paid at the counter, in percent; the rest was there at the beginning.
PAID_PERCENT = 60
TILL = "T1"
#: A wallet with more than this was topped up in the last days.
LATELY_FROM_FEN = 10_000


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money that came in at the counter in the past."""

    account: SupplyAccount
    at: datetime
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Past:
    """What happened to one site before the demo's clock starts: instants with every meter's register, and payments."""

    instants: list[datetime]
    registers: list[list[int]]
    top_ups: list[TopUp]
    opening_fen: list[int]


def cost_fen(site: Site, spec: MeterSpec, begins: datetime, ends: datetime) -> int:
    """What a meter's use between two instants costs, whole fen, at the prices of the site's plan."""
    changes = [datetime.combine(day, datetime.min.time(), begins.tzinfo) for day, _ in site.prices]
    cuts = [begins, *(at for at in changes if begins < at < ends), ends]
    registers = list(registers_at(spec, cuts))
    microfen = 0
    for cut, first_wh, last_wh in zip(cuts, registers, registers[1:], strict=False):
        price = [Decimal(text) for (_, text), at in zip(site.prices, changes, strict=True) if at <= cut][-1]
        microfen += (last_wh - first_wh) * int(price * MICROFEN_PER_YUAN_PER_KWH)
    return floor_fen(microfen)


def past_of(built: Built, town: Town) -> Past:
    """Work out the past of a site so that every wallet ends with what the town says is left."""
    step = timedelta(hours=built.site.hours_between_readings)
    instants = list(_steps(town.began_at + step, town.start, step))
    top_ups, opening = [], []
    for fitted, account in zip(built.fitted, built.accounts, strict=True):
        if account is None:
            opening.append(0)
            continue
        cost = cost_fen(built.site, fitted.spec, town.began_at, town.start)
        paid = _payments(town, account, cost, fitted.supply.left_fen) if town.history_days > 14 else []
        top_ups += paid
        opening.append(fitted.supply.left_fen + cost - sum(top_up.amount_fen for top_up in paid))
    registers = [list(registers_at(fitted.spec, instants)) for fitted in built.fitted]
    return Past(instants, registers, sorted(top_ups, key=lambda top_up: top_up.at), opening)


def _payments(town: Town, account: SupplyAccount, cost: int, left_fen: int) -> list[TopUp]:
    """Round payments on days and at hours that differ from home to home; whoever is low has not paid of late."""
    turn = account.id
    days = [2 + turn * 5 % 9, 11 + turn * 7 % 9]
    if left_fen > LATELY_FROM_FEN:
        days.append(town.history_days if turn % 3 == 0 else 21 + turn * 4 % 9)
    each = cost * PAID_PERCENT // 100 // len(days) // 1000 * 1000
    if each <= 0:
        return []
    return [TopUp(account, town.began_at + timedelta(days=day) + _hour_of(turn, day, town), each) for day in days]


def _hour_of(turn: int, day: int, town: Town) -> timedelta:
    """Some time of the counter's day; on the last day before the demo begins."""
    if day == town.history_days:
        return timedelta(hours=8, minutes=35 + turn * 7 % 60)
    return timedelta(hours=9 + turn * 5 % 8, minutes=(turn * 13 + day * 7) % 60)


def _steps(begins: datetime, ends: datetime, step: timedelta) -> Iterator[datetime]:
    at = begins
    while at < ends:
        yield at
        at += step
    yield ends


def open_balances(session: Session, built: Built, past: Past, town: Town) -> None:
    """Book what each wallet held when its account was opened, in one entry."""
    held = [(a.id, fen) for a, fen in zip(built.accounts, past.opening_fen, strict=True) if a is not None]
    wallets = wallet_ids(session, supply_account_ids=[id_ for id_, _ in held])
    opening = account_ids(session, book_id=built.book_id, codes=["opening"])["opening"]
    postings = tuple(_opening(wallets[id_], opening, fen) for id_, fen in held if fen)
    draft = EntryDraft(
        book_id=built.book_id,
        kind="opening",
        booked_on=town.began_at.date(),
        event_at=town.began_at,
        currency=CNY,
        postings=postings,
        idempotency_key=f"demo_opening:{built.property_id}",
        actor="system:demo",
        document="demo:opening",
    )
    post_entry(session, draft)


def _opening(wallet_id: int, opening_id: int, fen: int) -> Posting:
    if fen > 0:
        return Posting(debit=opening_id, credit=wallet_id, amount_fen=fen, memo="期初余额")
    return Posting(debit=wallet_id, credit=opening_id, amount_fen=-fen, memo="期初欠费")


def play_day(session: Session, built: Built, past: Past, midnight: datetime, *, cashier: Actor) -> None:
    """One civil day of a site: payments in the afternoon, readings, pricing and day close when it has ended."""
    ends = min(midnight + timedelta(days=1), past.instants[-1])
    for number, top_up in enumerate(past.top_ups):
        if midnight <= top_up.at < ends:
            _take(session, built, number, top_up, cashier)
    move_clock(to=ends, rate=0)
    chosen = [i for i, at in enumerate(past.instants) if midnight < at <= ends]
    rows = [
        NewReading(meter_id, past.instants[i], registers[i])
        for meter_id, registers in zip(built.meter_ids, past.registers, strict=True)
        for i in chosen
    ]
    take_readings(session, rows=rows, source="headend")
    while price_dirty(session, property_id=built.property_id).more:
        pass
    if ends - midnight == timedelta(days=1):
        while not close_day(session, property_id=built.property_id, day=midnight.date()).finished:
            pass


def _take(session: Session, built: Built, number: int, top_up: TopUp, cashier: Actor) -> None:
    move_clock(to=top_up.at, rate=0)
    take_payment(
        session,
        supply_account=top_up.account,
        amount_fen=top_up.amount_fen,
        channel="cash" if top_up.account.id % 3 else "pos",
        till=TILL,
        actor=cashier,
        idempotency_key=f"demo:{built.property_id}:{number}",
    )
