"""The page of data keys: for the platform's operator at headquarters, beginning a change that the clock ends."""

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.tenants.models import AuditRecord, TenantKey
from app.tenants.parties import register_party
from app.tenants.rotation import continue_rotation
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]


def test_a_change_is_begun_once_and_shown_until_it_is_done(visit: Visit, world: World, db: Database) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        register_party(session, property_id=world.property_id, name="住户", phone="13900000000")
    visitor = visit(world, Role.PLATFORM_OPERATOR, at=world.headquarters_id)
    assert "使用中" in visitor.text("/keys")
    refused = visitor.post("/keys/rotate", {"reason": ""}, token_from="/keys")
    assert (refused.status_code, "请填写原因" in refused.get_data(as_text=True)) == (422, True)
    assert visitor.post("/keys/rotate", {"reason": "例行更换", "digests": "1"}, token_from="/keys").status_code == 303
    page = visitor.text("/keys")
    for words in ("更换中", "含检索索引", "已开始更换"):
        assert words in page
    again = visitor.post("/keys/rotate", {"reason": "再来一次"}, token_from="/keys")
    assert (again.status_code, "正在更换" in again.get_data(as_text=True)) == (409, True)
    continue_rotation(world.tenant_id, by=Actor.system("worker"), db=db, settled=timedelta(0))
    page = visitor.text("/keys")
    assert "更换中" not in page
    assert "只读旧数据" in page
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(TenantKey.version)).all() == [2]
        kept = session.scalars(select(AuditRecord).where(AuditRecord.deed == "platform:key:rotate")).one()
        assert (kept.actor, kept.reason, kept.facts) == (f"user:{visitor.user_id}", "例行更换", {"blinds": True})


def test_the_keys_are_nobody_elses(visit: Visit, world: World) -> None:
    for role in (Role.GROUP_ADMINISTRATOR, Role.PROPERTY_MANAGER, Role.CASHIER):
        assert visit(world, role).get("/keys").status_code == 403
    somewhere = visit(world, Role.PLATFORM_OPERATOR)
    answer = somewhere.get("/keys")  # KeysOfTheGroup
    assert (answer.status_code, "属于整个集团" in answer.get_data(as_text=True)) == (403, True)
