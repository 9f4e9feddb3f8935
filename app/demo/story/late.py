"""Chapter four: readings over the API, days late and out of order; what was posted wrongly is corrected, never edited."""

from datetime import datetime
from typing import Any

import httpx

from app.demo.registers import fit_meters, registers_at
from app.demo.signins import api_token
from app.demo.story.acts import Act, at, local, show_entry
from app.demo.story.scene import Scene
from app.demo.street import first_number
from app.demo.town import HEFENG
from app.kernel.quantity import format_kwh

#: Behind a gateway that never calls: its readings are carried in by somebody.
SPACE = "B-0203"

_DAYS = """
    SELECT day, usage_wh, rated_microfen, posted_microfen, revision FROM account_days
     WHERE supply_account_id = :account AND day >= :first ORDER BY day
"""


def tell_late(act: Act) -> None:
    """A week in one reading, then the reading that should have come before it."""
    home = act.scene(SPACE)
    act.tell.chapter(f"Late readings: {SPACE}, whose gateway {home.place.gateway} never calls")
    _first(act, home)
    _second(act, home)


def _first(act: Act, home: Scene) -> None:
    act.tell.step("one reading for the whole week comes over the API")
    row = _row(act, home, at(act.stage, 6, "08:00"))
    answer = _post(act, "week", [row])
    act.tell.expect("taken, and its gap named", answer.json()["rows"][0], {"row": 0, "status": "stored", "flag": "gap"})
    again = _post(act, "week", [row])
    act.tell.expect("sent again with its key it is one", (again.status_code, again.json()["replayed"]), (200, True))
    other = _post(act, "week", [_row(act, home, at(act.stage, 6, "07:00"))])
    refusal = other.json()["error"]["code"]
    act.tell.expect("the same key with other rows is refused", refusal, "idempotency_key_reused")
    act.stage.settle()
    act.stage.advance(at(act.stage, 6, "10:00"))
    _show_days(act, home)


def _second(act: Act, home: Scene) -> None:
    before, posted = _days(act, home), len(home.entries("usage_day"))
    act.tell.step("the reading of Thursday midnight arrives after it")
    answer = _post(act, "thursday", [_row(act, home, at(act.stage, 3, "00:00"))])
    act.tell.expect("taken into its place", answer.json()["rows"][0]["flag"], "out_of_order")
    act.stage.settle()
    act.stage.advance(at(act.stage, 6, "11:00"))
    _show_days(act, home)
    after, entries = _days(act, home), home.entries("usage_day")[posted:]
    for entry in entries:
        show_entry(act, entry)
    act.tell.expect("the days were divided anew", [d.usage_wh for d in after] != [d.usage_wh for d in before])
    act.tell.expect("the week's usage is the same", sum(d.usage_wh for d in after), sum(d.usage_wh for d in before))
    act.tell.expect(
        "the week costs the same", sum(d.rated_microfen for d in after), sum(d.rated_microfen for d in before)
    )
    act.tell.expect("differences were posted both ways", {entry.change_fen > 0 for entry in entries}, {True, False})


def _days(act: Act, home: Scene) -> Any:
    return home.rows(_DAYS, first=act.stage.town.start.date())


def _show_days(act: Act, home: Scene) -> None:
    for day in _days(act, home):
        act.tell.fact("day", f"{day.day}  {day.usage_wh:>6} Wh, revision {day.revision}")
    ended = [d for d in _days(act, home) if d.day < act.stage.now.date()]
    act.tell.expect("every ended day is posted", all(d.rated_microfen == d.posted_microfen for d in ended))


def _row(act: Act, home: Scene, read_at: datetime) -> dict[str, object]:
    """What the meter's display said at an instant."""
    fitted = fit_meters(HEFENG, began_at=act.stage.town.began_at, first=first_number(0))
    spec = next(f.spec for f in fitted if f.supply.space == home.place.space)
    (register_wh,) = registers_at(spec, [read_at])
    act.tell.fact("reading", f"{format_kwh(register_wh)} kWh of {local(read_at)}")
    return {"meter": home.place.address, "read_at": read_at.isoformat(), "register_wh": register_wh}


def _post(act: Act, key: str, rows: list[dict[str, object]]) -> httpx.Response:
    stage = act.stage
    token = api_token(
        stage.db,
        settings=stage.settings,
        tenant_id=stage.demo.tenant_id,
        property_id=stage.demo.properties[HEFENG.name],
    )
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"story-{key}"}
    return httpx.post(f"{stage.url}/api/v1/readings", json={"readings": rows}, headers=headers, timeout=20)
