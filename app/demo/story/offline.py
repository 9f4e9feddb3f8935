"""Chapter two: a gateway goes, a home runs out unseen, a trip waits for a line that is not there, and the money is faster."""

from app.demo.story.acts import (
    Act,
    at,
    deliveries,
    local,
    pay,
    set_line,
    show_command,
    show_notice,
    show_payment,
    show_reading,
    walk,
)

SPACE = "A-0303"
GATEWAY = "GW-HF-A"
#: The overdraft is used up on the second night, while nobody can see the meter.
CROSSES = (5, "22:30")
#: Stopped together with the home of chapter one; pays when nobody can reach its meter.
DARK_SPACE, DARK_CROSSES = "A-0202", (4, "22:30")


def tell_offline(act: Act) -> None:
    """No stale trip reaches a meter that comes back."""
    home, day = act.scene(SPACE), CROSSES[0]
    act.tell.chapter(f"A gateway goes: {GATEWAY}, with {SPACE} behind it")
    walk(act.stage, at(act.stage, day, "16:00"))
    act.tell.step("the gateway is cut off in the afternoon")
    show_reading(act, home)
    set_line(act, GATEWAY, offline=True)
    _paid_not_delivered(act)
    seen = home.last_reading().read_at
    walk(act.stage, at(act.stage, day + 1, "06:00"))
    act.tell.step("the home has used up its overdraft, and nobody has seen it")
    act.tell.expect("no reading came in", home.last_reading().read_at, seen)
    act.tell.expect("so nothing was decided", (home.level() <= 3, len(home.commands())), (True, 0))
    _back(act)
    _trip_waits(act)
    _money_is_faster(act)


def _paid_not_delivered(act: Act) -> None:
    home = act.scene(DARK_SPACE)
    act.tell.step(f"{DARK_SPACE} behind it is dark, and its resident pays now")
    act.tell.expect("dark since the morning", [s.state for s in home.stops()], ["in_force"])
    pay(act, home, yuan="80")
    act.stage.settle()
    show_payment(act, home)
    act.tell.expect("paid, and restoring", [s.state for s in home.stops()], ["restoring"])
    act.tell.expect("it stands in the queue of what is paid and not delivered", home.place.space in deliveries(act))


def _delivered(act: Act) -> None:
    home = act.scene(DARK_SPACE)
    act.tell.step(f"{DARK_SPACE} is caught up")
    show_command(act, home, home.commands()[-1])
    stop = home.stops()[-1]
    act.tell.expect("the light is back", (stop.state, home.meter_view()["relay_open"]), ("lifted", False))
    act.tell.fact("delivered", f"{local(stop.lifted_at)}, paid {local(stop.paid_at)}")
    act.tell.expect("the queue is empty", home.place.space in deliveries(act), False)


def _back(act: Act) -> None:
    home, day = act.scene(SPACE), CROSSES[0] + 1
    set_line(act, GATEWAY, offline=False)
    _delivered(act)
    act.tell.step("the gateway is back: decided anew on what is true now")
    show_reading(act, home)
    judged = home.judged()
    assert judged is not None
    act.tell.fact("refusal", judged.sentence)
    act.tell.expect("before the hours nothing is stopped", (judged.verdict, len(home.commands())), ("before_hours", 0))
    walk(act.stage, at(act.stage, day, "07:30"))
    act.tell.step("the last warning")
    show_notice(act, home.notices("last_warning")[-1])


def _trip_waits(act: Act) -> None:
    home, day = act.scene(SPACE), CROSSES[0] + 1
    set_line(act, GATEWAY, offline=True)
    act.stage.advance(at(act.stage, day, "08:00"))
    act.tell.step("the gateway goes again; the stop is decided, and its trip cannot leave")
    trip = home.commands()[-1]
    act.tell.fact("command", f"#{trip.seq} {trip.kind} {trip.state}, valid until {local(trip.valid_until)}")
    act.tell.expect("it waits", (trip.kind, trip.state), ("trip", "queued"))


def _money_is_faster(act: Act) -> None:
    home, day = act.scene(SPACE), CROSSES[0] + 1
    act.stage.advance(at(act.stage, day, "08:03"))
    act.tell.step("the resident pays while the gateway is away")
    pay(act, home, yuan="200")
    act.stage.settle()
    show_payment(act, home)
    trip = home.commands()[-1]
    act.tell.fact("command", f"#{trip.seq} {trip.kind} → {trip.state} ({trip.failure})")
    act.tell.expect("the credit cancelled the trip", (trip.kind, trip.state), ("trip", "cancelled"))
    act.stage.advance(at(act.stage, day, "08:20"))
    set_line(act, GATEWAY, offline=False)
    act.tell.step("the gateway is back: no stale trip")
    act.tell.expect("no frame of the trip ever left", list(home.frames(trip.id)), [])
    view = home.meter_view()
    act.tell.expect("the meter was never tripped", (view["relay_open"], view["trips"]), (False, 0))
    act.tell.expect("no stop is left open", [s.state for s in home.stops()], ["cancelled"])
    show_reading(act, home)
