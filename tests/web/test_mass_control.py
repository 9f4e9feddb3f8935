"""Switching many from the room wall: tick floors and rooms, look over the list, hear what came of each."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import func, select, update

from app.billing.models import Stop
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Meter, Mount
from app.permissions.policy import Role
from app.tenants.models import Floor
from tests.conftest import MovableClock
from tests.factories.history import public_id
from tests.factories.world import World, build_sibling
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
PAGE = "/rooms/mass"


@pytest.fixture
def many(make_world: Callable[..., World], db: Database, business_clock: MovableClock) -> World:
    """Eight rooms on two floors, all read a moment ago, the second one guaranteed."""
    world = make_world(spaces=8)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Meter).values(online=True, reading_at=business_clock.now()))
        session.execute(update(Mount).where(Mount.meter_id == world.meter_ids[1]).values(guaranteed_supply=True))
    return world


def floors(db: Database, world: World) -> list[int]:
    """Ids of the floors, from below."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return list(
            session.scalars(select(Floor.id).where(Floor.property_id == world.property_id).order_by(Floor.level))
        )


def stops(db: Database, world: World) -> int:
    """How many stops the world has."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(Stop)) or 0


def test_a_floor_is_looked_over_and_stopped_room_by_room(visit: Visit, many: World, db: Database) -> None:
    manager = visit(many, Role.PROPERTY_MANAGER)
    assert PAGE in manager.text("/rooms")
    checked = manager.post(PAGE, {"floor": str(floors(db, many)[0])}, token_from=PAGE).get_data(as_text=True)
    assert "核对名单 · 4 户" in checked
    accounts = re.findall(r'name="account" value="([^"]+)"', checked)
    assert len(accounts) == 4
    assert stops(db, many) == 0
    answer = manager.post(PAGE, {"account": accounts, "deed": "stop", "reason": "检修"}, token_from=PAGE)
    page = answer.get_data(as_text=True)
    for words in ("3 户已下达，1 户没有执行", "已下达停供指令", "保电对象，任何情况下不停供"):
        assert words in page, words
    assert stops(db, many) == 3
    again = manager.post(PAGE, {"account": accounts, "deed": "restore", "reason": "完工"}, token_from=PAGE)
    assert "没有停供，无需送电" in again.get_data(as_text=True)


@pytest.mark.parametrize(
    ("form", "said"), [({}, "还没有选择房间"), ({"deed": "stop", "reason": "检修"}, "还没有选择房间")]
)
def test_nothing_ticked_is_said(visit: Visit, many: World, form: dict[str, str], said: str) -> None:
    answer = visit(many, Role.PROPERTY_MANAGER).post(PAGE, dict(form), token_from=PAGE)
    assert answer.status_code == 422
    assert said in answer.get_data(as_text=True)


def test_without_a_reason_the_list_comes_back(visit: Visit, many: World, db: Database) -> None:
    form = {"account": public_id(db, many), "deed": "stop", "reason": " "}
    answer = visit(many, Role.PROPERTY_MANAGER).post(PAGE, form, token_from=PAGE)
    assert answer.status_code == 422
    assert "请写明原因" in answer.get_data(as_text=True)
    assert stops(db, many) == 0


def test_above_the_limit_another_person_sees_the_same_list(visit: Visit, many: World, db: Database) -> None:
    manager, head = visit(many, Role.PROPERTY_MANAGER), visit(many)
    form = {"floor": [str(f) for f in floors(db, many)], "deed": "stop", "reason": "检修"}
    page = manager.post(PAGE, dict(form), token_from=PAGE).get_data(as_text=True)
    assert "需要另一人审批" in page
    assert stops(db, many) == 0
    asked = manager.post(PAGE, {**form, "ask": "1"}, token_from=PAGE)
    assert asked.status_code == 303
    shown = head.text(asked.location)
    for words in ("停止向 和风苑 的 8 户供电", "A座 A-0101", "A座 A-0204"):
        assert words in shown, words
    seen = re.search(r'name="seen" value="([^"]+)"', shown)
    assert seen
    assert head.post(f"{asked.location}/approve", {"seen": seen[1]}, token_from=asked.location).status_code == 303
    assert stops(db, many) == 5
    after = manager.text(asked.location)
    for words in ("已下达停供指令", "保电对象", "本小时停供数量已达上限"):
        assert words in after, words


def test_a_neighbours_rooms_are_not_in_the_list(visit: Visit, many: World, db: Database) -> None:
    sibling = build_sibling(db, many, name="邻园")
    neighbour = visit(many, Role.PROPERTY_MANAGER, at=sibling.property_id)
    form = {"account": public_id(db, many), "deed": "stop", "reason": "检修"}
    assert neighbour.post(PAGE, form, token_from=PAGE).status_code == 422
    assert public_id(db, many) not in neighbour.text(PAGE)
    assert stops(db, many) == 0


@pytest.mark.parametrize("role", [Role.METER_ENGINEER, Role.CASHIER, Role.DUTY_OFFICER, Role.READ_ONLY])
def test_others_see_no_button_and_no_page(visit: Visit, many: World, role: Role) -> None:
    visitor = visit(many, role)
    assert PAGE not in visitor.text("/rooms")
    assert visitor.get(PAGE).status_code == 403
    assert visitor.post(PAGE, {"deed": "stop"}).status_code == 403
