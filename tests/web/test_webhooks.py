"""The pages of webhooks: register, see the secret once, test, send again, switch off; and nobody else's."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from app.permissions.policy import Role
from app.tenants.models import Node
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
SECRET = re.compile(r'id="secret-raw">(whsec_[A-Za-z0-9+/=]+)<')


def form(db: Database, world: World, **more: object) -> dict[str, object]:
    with unit_of_work(world.tenant_id, db=db) as session:
        place = session.scalars(select(Node.public_id).where(Node.id == world.headquarters_id)).one()
    return {
        "name": "财务系统", "url": "https://hooks.example.com/in", "place": str(place),
        "kinds": ["payments.succeeded"], **more,
    }  # fmt: skip


@pytest.fixture
def registered(visit: Visit, db: Database, world: World) -> tuple[Visitor, str]:
    """An administrator and the address of the page of an endpoint."""
    visitor = visit(world)
    assert visitor.post("/webhooks", form(db, world)).status_code == 200
    with unit_of_work(world.tenant_id, db=db) as session:
        return visitor, f"/webhooks/{session.scalars(select(WebhookEndpoint.public_id)).one()}"


def test_the_secret_is_shown_once_and_can_be_changed(registered: tuple[Visitor, str]) -> None:
    visitor, page = registered
    assert not SECRET.search(visitor.text(page))
    changed = visitor.post(f"{page}/secret")
    assert SECRET.search(changed.get_data(as_text=True))
    said = visitor.text(page)
    assert not SECRET.search(said)
    assert "旧密钥到" in said


def test_a_test_message_is_logged_and_sent_again(registered: tuple[Visitor, str], db: Database, world: World) -> None:
    visitor, page = registered
    assert visitor.post(f"{page}/ping").status_code == 303
    assert "测试消息" in visitor.text(page)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(WebhookDelivery).values(state="dead", attempts=8, last_status=500, ended_at=wall_now()))
        public_id = session.scalars(select(WebhookDelivery.public_id)).one()
    assert "HTTP 500" in visitor.text(f"{page}?state=dead")
    assert visitor.post(f"/webhooks/deliveries/{public_id}/again").status_code == 303
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.execute(select(WebhookDelivery.state, WebhookDelivery.attempts)).one() == ("waiting", 0)
        session.execute(update(WebhookEndpoint).values(disabled_at=wall_now(), disabled_why="dead"))
    for address in (page, "/webhooks"):
        assert "已自动停用" in visitor.text(address)
    assert "1 个推送地址已自动停用" in visitor.text("/")
    assert visitor.post(f"/webhooks/deliveries/{public_id}/again").status_code == 409
    assert visitor.post(f"{page}/ping").status_code == 409
    assert visitor.post(f"{page}/on").status_code == 303
    assert "已自动停用" not in visitor.text(page)
    assert visitor.post(f"{page}/off").status_code == 303
    assert "停用于" in visitor.text(page)
    assert "推送地址已自动停用" not in visitor.text("/")
    assert visitor.post(f"{page}/remove").status_code == 303
    assert visitor.get(page).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [{"url": "http://example.com/"}, {"url": "https://127.0.0.1/"}, {"url": "https://10.0.0.1/"}, {"kinds": []},
     {"kinds": ["readings.arrived"]}, {"name": ""}, {"url": "javascript:alert(1)"}],
)  # fmt: skip
def test_what_is_refused_says_why(
    registered: tuple[Visitor, str], db: Database, world: World, wrong: dict[str, object]
) -> None:
    visitor, page = registered
    added = visitor.post("/webhooks", form(db, world, **wrong))
    changed = visitor.post(page, form(db, world, **wrong))
    assert (added.status_code, changed.status_code) == (422, 422)
    assert "没有登记" in added.get_data(as_text=True)
    assert "没有保存" in changed.get_data(as_text=True)


def test_a_change_is_kept(registered: tuple[Visitor, str], db: Database, world: World) -> None:
    visitor, page = registered
    assert visitor.post(page, form(db, world, name="新财务系统", kinds=["commands.ended"])).status_code == 303
    assert "新财务系统" in visitor.text("/webhooks")


def test_only_headquarters_registers_and_everybody_sees_their_own_only(
    registered: tuple[Visitor, str], visit: Visit, db: Database, world: World, make_world: Callable[..., World]
) -> None:
    page = registered[1]
    manager = visit(world, Role.PROPERTY_MANAGER)
    assert "hooks.example.com" not in manager.text("/webhooks")
    assert (manager.get(page).status_code, manager.post("/webhooks", form(db, world)).status_code) == (404, 403)
    stranger = visit(make_world(spaces=1))
    assert "hooks.example.com" not in stranger.text("/webhooks")
    missing = stranger.get(f"/webhooks/{uuid4()}")
    theirs = stranger.get(page)
    assert (theirs.status_code, missing.status_code) == (404, 404)
    for deed in ("", "/secret", "/on", "/off", "/ping", "/remove"):
        assert stranger.post(page + deed, form(db, world)).status_code == 404
    assert stranger.post(f"/webhooks/deliveries/{uuid4()}/again").status_code == 404
