"""Chapter one: a home runs out of credit, is warned, is left in peace at night, is cut off, pays, has its light back."""

import time

from app.demo.story.acts import (
    Act,
    at,
    local,
    pay,
    show_command,
    show_notice,
    show_payment,
    show_reading,
    show_working,
    walk,
    walk_until,
)
from app.demo.story.scene import Scene

SPACE = "A-0104"
#: Day of the story and time of day at which the overdraft is used up: a Friday night.
CROSSES = (4, "22:30")
PAID_YUAN = "100"


def tell_running_out(act: Act) -> None:
    """From plenty to light again."""
    home = act.scene(SPACE)
    act.tell.chapter(f"A home runs out: {SPACE}, account {home.place.number}, meter {home.place.address}")
    act.tell.step("everything is as the history left it")
    show_reading(act, home)
    show_working(act, home)
    act.tell.expect("no alarm yet", home.level(), 0)
    _warned(act, home)
    _night(act, home)
    _last_warning(act, home)
    _stopped(act, home)
    _paid(act, home)


def _warned(act: Act, home: Scene) -> None:
    for level, kind in enumerate(("alarm_1", "alarm_2", "zero"), start=1):
        walk_until(act, kind, lambda kind=kind: bool(home.notices(kind)), at(act.stage, *CROSSES))  # type: ignore[misc]
        act.tell.step(f"the wallet is low: {kind}")
        show_reading(act, home)
        show_working(act, home)
        notices = home.notices(kind)
        show_notice(act, notices[-1])
        act.tell.expect("told once, and proved", [n.state for n in notices], ["delivered"])
        act.tell.expect("the level on the account", home.level(), level)


def _night(act: Act, home: Scene) -> None:
    day, _ = CROSSES
    walk(act.stage, at(act.stage, day, "22:00"))
    act.stage.advance(at(act.stage, day, "23:00"))
    act.tell.step("the overdraft is used up in the night")
    show_working(act, home)
    judged = home.judged()
    assert judged is not None
    act.tell.fact("refusal", judged.sentence)
    act.tell.expect("quiet time holds", judged.verdict, "after_hours")
    act.tell.expect("asked again half an hour before the hours begin", judged.next_at, at(act.stage, day + 1, "07:30"))
    act.tell.expect("nothing was ordered", len(home.commands()), 0)
    act.tell.expect("the light is on", home.meter_view()["relay_open"], False)


def _last_warning(act: Act, home: Scene) -> None:
    day = CROSSES[0] + 1
    walk(act.stage, at(act.stage, day, "07:30"))
    act.tell.step("the last warning")
    show_notice(act, home.notices("last_warning")[-1])
    judged = home.judged()
    assert judged is not None
    act.tell.fact("refusal", judged.sentence)
    act.tell.expect("the warning stands before the stop", judged.next_at, at(act.stage, day, "08:00"))
    act.tell.expect("still nothing was ordered", len(home.commands()), 0)


def _stopped(act: Act, home: Scene) -> None:
    act.stage.advance(at(act.stage, CROSSES[0] + 1, "08:00"))
    act.tell.step("the hours begin: supply is stopped")
    commands = home.commands()
    act.tell.expect("one command: a trip", [c.kind for c in commands], ["trip"])
    permit = home.permit(commands[0].permit_id)
    facts = permit.evidence["facts"]
    act.tell.fact("permit", f"№{permit.id} {permit.basis}, valid until {local(permit.valid_until)}")
    figures = f"available {facts['available_fen']} fen, overdraft {facts['overdraft_fen']} fen"
    act.tell.fact("evidence", f"{figures}, read at {facts['read_at']}")
    show_command(act, home, commands[0])
    act.tell.expect("done means read back", (commands[0].state, commands[0].read_back), ("confirmed", "open"))
    act.tell.expect("the meter itself is open", home.meter_view()["relay_open"])
    act.tell.expect("the stop is in force", [s.state for s in home.stops()], ["in_force"])
    show_notice(act, home.notices("stopped")[-1])
    before = show_reading(act, home)
    act.stage.advance(at(act.stage, CROSSES[0] + 1, "09:00"))
    act.tell.step("dark: the register stands still")
    act.tell.expect("nothing was used", show_reading(act, home), before)


def _paid(act: Act, home: Scene) -> None:
    act.tell.step(f"the resident pays {PAID_YUAN} yuan at the counter")
    began = time.monotonic()
    pay(act, home, yuan=PAID_YUAN)
    act.stage.settle()
    act.tell.fact(
        "took", f"{round((time.monotonic() - began) * 1000)} ms from sign-in to light, double submits included"
    )
    show_payment(act, home)
    close = home.commands()[-1]
    show_command(act, home, close)
    act.tell.expect("the button is permitted, not pressed by us", close.kind, "permit_close")
    act.tell.expect("the light is back by read-back", (close.state, close.read_back), ("confirmed", "closed"))
    act.tell.expect("the meter itself is closed", home.meter_view()["relay_open"], False)
    act.tell.expect("the stop is lifted", [s.state for s in home.stops()], ["lifted"])
    show_notice(act, home.notices("restored")[-1])
    before = home.last_reading().register_wh
    act.stage.advance(at(act.stage, CROSSES[0] + 1, "10:00"))
    act.tell.step("the register moves again")
    act.tell.expect("something was used", show_reading(act, home) > before)
