"""The duty officer's phone: find the room, see why, one button; and what the manager reads in the morning."""

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from app.billing.emergency_models import EmergencySupply
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from tests.conftest import MovableClock
from tests.factories.history import public_id
from tests.factories.supply import darken
from tests.factories.world import World, build_sibling
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
FORM = {"reason": "孩子发烧", "appliances_off": "1"}


def given(db: Database, world: World) -> int:
    """How many emergency supplies the world has."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(EmergencySupply)) or 0


def test_from_the_search_to_the_light(visit: Visit, world: World, db: Database, business_clock: MovableClock) -> None:
    darken(world, business_clock)
    duty, account = visit(world, Role.DUTY_OFFICER), public_id(db, world)
    assert f"/emergency/{account}" in duty.text("/emergency?q=0101")
    assert "没有找到" in duty.text("/emergency?q=9999")
    page = duty.text(f"/emergency/{account}")
    for words in ("余额用尽停供", "应急送电", "12 小时", "¥30.00"):
        assert words in page, words
    answer = duty.post(f"/emergency/{account}", FORM, token_from=f"/emergency/{account}")
    assert answer.status_code == 303
    page = duty.text(f"/emergency/{account}")
    assert "正在送电" in page
    assert "应急送电" not in page
    morning = visit(world, Role.PROPERTY_MANAGER).text("/emergency")
    for words in ("A座 A-0101", "孩子发烧", "陈静怡", "¥0.00 / ¥30.00", "生效中"):
        assert words in morning, words


@pytest.mark.parametrize(
    ("form", "said"),
    [({"appliances_off": "1"}, "请写明原因"), ({"reason": "孩子发烧"}, "请先与住户确认")],
)
def test_what_is_missing_is_asked_for(
    visit: Visit, world: World, db: Database, business_clock: MovableClock, form: dict[str, str], said: str
) -> None:
    darken(world, business_clock)
    duty, account = visit(world, Role.DUTY_OFFICER), public_id(db, world)
    answer = duty.post(f"/emergency/{account}", form, token_from=f"/emergency/{account}")
    assert answer.status_code == 422
    assert said in answer.get_data(as_text=True)
    assert given(db, world) == 0


def test_a_room_with_light_gets_words_and_no_button(visit: Visit, world: World, db: Database) -> None:
    duty, account = visit(world, Role.DUTY_OFFICER), public_id(db, world)
    page = duty.text(f"/emergency/{account}")
    assert "该户没有停供" in page
    assert "应急送电" not in page
    assert duty.post(f"/emergency/{account}", FORM, token_from=f"/emergency/{account}").status_code == 409


def test_a_neighbours_room_is_not_there(visit: Visit, world: World, db: Database) -> None:
    sibling = build_sibling(db, world, name="邻园")
    neighbour, account = visit(world, Role.DUTY_OFFICER, at=sibling.property_id), public_id(db, world)
    assert f"/emergency/{account}" not in neighbour.text("/emergency?q=0101")
    assert neighbour.get(f"/emergency/{account}").status_code == 404
    assert neighbour.post(f"/emergency/{account}", FORM, token_from="/emergency").status_code == 404


@pytest.mark.parametrize("role", [Role.CASHIER, Role.METER_ENGINEER, Role.BUILDING_STEWARD, Role.GROUP_AUDITOR])
def test_others_do_not_open_it(visit: Visit, world: World, db: Database, role: Role) -> None:
    visitor, account = visit(world, role), public_id(db, world)
    assert visitor.get("/emergency").status_code == 403
    assert visitor.post(f"/emergency/{account}", FORM, token_from="/security").status_code == 403


def test_the_manager_sets_what_a_night_is_and_the_duty_officer_does_not(
    visit: Visit, world: World, db: Database
) -> None:
    manager, duty = visit(world, Role.PROPERTY_MANAGER), visit(world, Role.DUTY_OFFICER)
    assert "小时数" in manager.text("/emergency")
    assert "小时数" not in duty.text("/emergency")
    assert duty.post("/emergency/allowance", {"hours": "8", "yuan": "10"}, token_from="/emergency").status_code == 403
    for wrong in ({"hours": "99", "yuan": "10"}, {"hours": "x", "yuan": "10"}, {"hours": "8", "yuan": "0"}):
        assert manager.post("/emergency/allowance", wrong, token_from="/emergency").status_code == 422
    answer = manager.post("/emergency/allowance", {"hours": "8", "yuan": "10"}, token_from="/emergency")
    assert answer.status_code == 303
    assert 'value="8"' in manager.text("/emergency")


#: Role → the page it begins with.
LANDINGS = {
    Role.PLATFORM_OPERATOR: "/meters",
    Role.GROUP_ADMINISTRATOR: "/",
    Role.GROUP_FINANCE: "/",
    Role.GROUP_AUDITOR: "/",
    Role.PROPERTY_MANAGER: "/",
    Role.PROPERTY_FINANCE: "/",
    Role.CASHIER: "/counter",
    Role.METER_ENGINEER: "/rooms",
    Role.DUTY_OFFICER: "/emergency",
    Role.BUILDING_STEWARD: "/collection",
    Role.ENERGY_MANAGER: "/",
    Role.READ_ONLY: "/",
}


@pytest.mark.parametrize("role", LANDINGS)
def test_everybody_lands_on_a_page_they_may_open(visit: Visit, world: World, role: Role) -> None:
    visitor = visit(world, role)
    answer = visitor.get("/home")
    assert (answer.status_code, answer.location) == (302, LANDINGS[role])
    assert visitor.get(answer.location).status_code == 200
