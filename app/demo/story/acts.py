"""What happens again and again: time passes, somebody pays, a gateway goes; and evidence shown the same way each time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Row

from app.demo.signins import CASHIER, password_of
from app.demo.story.desk import Desk
from app.demo.story.narrator import Narrator, StoryBroken
from app.demo.story.scene import Scene
from app.demo.story.stage import Stage
from app.demo.town import ZONE
from app.kernel.money import MICROFEN_PER_FEN, format_yuan
from app.kernel.quantity import format_kwh
from app.meters.models import Gateway, Meter
from app.meters.simulator.control import ask

#: The stride of the clock while the story's homes only use what they have: each ends when all is quiet.
PACE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Act:
    """The stage and who tells what happens on it."""

    stage: Stage
    tell: Narrator

    def scene(self, space: str) -> Scene:
        """One home."""
        return Scene(self.stage, space)


def at(stage: Stage, day: int, clock: str) -> datetime:
    """An instant of the story: `day` 0 is the day it starts on."""
    hour, minute = (int(part) for part in clock.split(":"))
    first = stage.town.start.astimezone(ZONE)
    return (first + timedelta(days=day)).replace(hour=hour, minute=minute)


def walk(stage: Stage, until: datetime, pace: timedelta = PACE) -> None:
    """Let time pass in strides, each until all is quiet."""
    while stage.now < until:
        stage.advance(min(stage.now + pace, until))


def walk_until(act: Act, what: str, happened: Callable[[], bool], latest: datetime) -> None:
    """Let time pass until something has happened. Raises StoryBroken when it has not by `latest`."""
    while not happened():
        if act.stage.now >= latest:
            raise StoryBroken(f"{act.tell.title}: {what} has not happened by {latest:%m-%d %H:%M}")
        act.stage.advance(act.stage.now + PACE)


def local(instant: datetime) -> str:
    """An instant as people of the property read it."""
    return f"{instant.astimezone(ZONE):%m-%d %H:%M}"


def show_reading(act: Act, scene: Scene) -> int:
    """Show the newest reading, checked against the meter's own display. Returns it in Wh."""
    reading, view = scene.last_reading(), scene.meter_view()
    act.tell.fact(
        "reading",
        f"{format_kwh(reading.register_wh)} kWh at {local(reading.read_at)}, {reading.source}, {reading.flag}",
    )
    act.tell.expect(
        "the register in the books is the register on the meter", reading.register_wh, view["register_wh"] // 10 * 10
    )
    return int(reading.register_wh)


def show_working(act: Act, scene: Scene) -> None:
    """Show how the present day's use is priced, line by line, and that the lines add up."""
    day = scene.working(act.stage.now.date())
    if day is None:
        return
    for line in day.lines:
        amount = f"{Decimal(line['amount_microfen']) / MICROFEN_PER_FEN:.3f}"
        act.tell.fact("working", f"{day.day}  {line['usage_wh']} Wh × {line['price']} yuan/kWh = {amount} fen")
    total = sum(line["amount_microfen"] for line in day.lines)
    act.tell.expect("the lines add up to the amount rated", total, day.rated_microfen)
    act.tell.fact("available", format_yuan(scene.available_fen))


def show_notice(act: Act, notice: Row[Any]) -> None:
    """Show a notice with its proof; it must have been delivered."""
    detail = (notice.proof or {}).get("detail") or "ok"
    act.tell.fact("notice", f"{notice.kind} by {notice.channel}, key {notice.message_key}")
    act.tell.fact("proof", f"provider id {notice.provider_id}, delivered {local(notice.delivered_at)}, {detail}")


def show_command(act: Act, scene: Scene, command: Row[Any]) -> None:
    """Show a command's life and its frames."""
    act.tell.fact(
        "command", f"#{command.seq} {command.kind} → {command.state}, read back {command.read_back}, by {command.actor}"
    )
    for frame in scene.frames(command.id):
        act.tell.fact(f"frame {frame.direction}", frame.frame)


def show_entry(act: Act, entry: Row[Any]) -> None:
    """Show a posting on the wallet."""
    act.tell.fact(
        "entry", f"№{entry.id} debit {entry.debit} credit {entry.credit} {format_yuan(entry.amount_fen)} {entry.memo}"
    )


def set_line(act: Act, number: str, *, offline: bool) -> None:
    """Cut a gateway off or let it come back, and wait until the product knows."""
    ask(*act.stage.control, {"gateway": number, "set": {"offline": offline}})
    deadline = time.monotonic() + 30
    while not _line_is(act.stage, number, offline=offline):
        if time.monotonic() > deadline:
            raise StoryBroken(
                f"{act.tell.title}: gateway {number} is not {'offline' if offline else 'online'} after 30 s"
            )
        time.sleep(0.02)
    act.stage.settle()
    act.tell.fact("gateway", f"{number} {'offline' if offline else 'online'}")


def _line_is(stage: Stage, number: str, *, offline: bool) -> bool:
    """Gone: the gateway is noted offline. Back: it is online and so are all its meters again."""
    with stage.session() as session:
        gateway = session.scalars(select(Gateway).where(Gateway.number == number)).one()
        meters = session.scalars(select(Meter.online).where(Meter.gateway_id == gateway.id)).all()
    return not gateway.online if offline else gateway.online and all(meters)


def pay(act: Act, scene: Scene, *, yuan: str) -> None:
    """The cashier signs in, opens the account, takes the money; twice sent is once taken."""
    settings = act.stage.settings
    with Desk(act.stage.url) as desk:
        desk.sign_in(CASHIER.login, password_of(settings))
        form = desk.open_form(scene.place.public_id)
        answer = desk.submit(form, yuan=yuan)
        act.tell.expect(
            "the counter answers with a receipt", (answer.status_code, "/receipts/" in answer.url.path), (200, True)
        )
        again = desk.submit(form, yuan=yuan)
        act.tell.expect("the same form sent twice shows the same receipt", again.url.path, answer.url.path)
        other = desk.submit(form, yuan=f"{yuan}.01")
        act.tell.expect("the same key with another amount is refused", other.status_code, 409)


def deliveries(act: Act) -> str:
    """The page of what is paid and not yet delivered, as the cashier sees it."""
    with Desk(act.stage.url) as desk:
        desk.sign_in(CASHIER.login, password_of(act.stage.settings))
        return desk.read("/deliveries")


def show_payment(act: Act, scene: Scene) -> None:
    """Show the newest payment: receipt, entry."""
    payment = scene.payments()[-1]
    amount = format_yuan(payment.amount_fen)
    act.tell.fact(
        "receipt", f"{payment.till}-{payment.receipt_number:06d}  {amount} {payment.channel}, {payment.actor}"
    )
    entry = scene.entries("top_up")[-1]
    show_entry(act, entry)
    act.tell.expect(
        "one payment, one entry, one amount", (entry.id, entry.change_fen), (payment.entry_id, payment.amount_fen)
    )
