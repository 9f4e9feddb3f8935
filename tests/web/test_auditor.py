"""The group auditor reads everything and changes nothing: every page answers, and none offers a form that does anything."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.notify.webhook_models import WebhookEndpoint
from app.permissions.policy import Role
from app.tenants.models import Node
from tests.factories.history import pay
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]

SETTINGS = ("/limits", "/security-policy", "/tokens", "/webhooks", "/counter-pcs", "/sso-providers")
#: What an auditor may send: language and theme, leaving, one's own security, and the audit log as a file.
SENDS = ("/preferences", "/search", "/sign-out", "/security", "/audit")


@pytest.fixture
def auditor(visit: Visit, world: World) -> Visitor:
    """The auditor at headquarters."""
    return visit(world, Role.GROUP_AUDITOR, at=world.headquarters_id)


@pytest.fixture
def things(visit: Visit, db: Database, world: World) -> list[str]:
    """Addresses of a receipt and of a webhook; a token and a counter PC are listed with their like."""
    admin = visit(world)
    with unit_of_work(world.tenant_id, db=db) as session:
        places = {node.id: node.public_id for node in session.scalars(select(Node))}
    here, property_ = str(places[world.headquarters_id]), str(places[world.property_id])
    sent: tuple[tuple[str, dict[str, object]], ...] = (
        ("/tokens", {"name": "抄表系统", "place": here, "permissions": ["reading:import:load"], "days": "90"}),
        ("/webhooks", {"name": "财务系统", "place": here, "url": "https://hooks.example.com/in",
                       "kinds": ["payments.succeeded"]}),
        ("/counter-pcs", {"name": "前台左侧", "property": property_}),
    )  # fmt: skip
    for address, form in sent:
        assert admin.post(address, form).status_code in (200, 303), address
    with unit_of_work(world.tenant_id, db=db) as session:
        hook = session.scalars(select(WebhookEndpoint.public_id)).one()
    return [f"/receipts/{pay(db, world)}", f"/webhooks/{hook}", f"/limits?node={property_}"]


def test_every_page_answers_and_none_offers_to_change_anything(auditor: Visitor, things: list[str]) -> None:
    listed = re.findall(r'class="rail-link" href="([^"]+)"', auditor.text("/search"))
    assert {"/payments", *SETTINGS} <= set(listed)
    for address in [*listed, *things]:
        page = auditor.text(address)
        assert not re.findall(r'(?:hx-post|formaction)="[^"]*"|href="/limits/', page), address
        for form in re.findall(r'<form[^>]*method="post"[^>]*>', page):
            sent_to = re.search(r'action="([^"]*)"', form)
            assert sent_to is not None, (address, form)
            assert sent_to[1].startswith(SENDS), (address, form)


def test_what_is_in_force_is_shown(auditor: Visitor, things: list[str]) -> None:
    for address, shown in (
        ("/tokens", "抄表系统"), ("/webhooks", "hooks.example.com"), ("/counter-pcs", "前台左侧"),
        ("/security-policy", "fieldset"), (things[1], "财务系统"),
    ):  # fmt: skip
        assert shown in auditor.text(address), address


def test_every_form_behind_these_pages_is_refused(auditor: Visitor, things: list[str]) -> None:
    receipt, hook, _limits = things
    for address in (*SETTINGS[1:], f"{receipt}/print", f"{receipt}/pdf", hook, f"{hook}/secret", f"{hook}/ping"):
        assert auditor.post(address).status_code == 403, address
    assert auditor.post("/limits/reversal/property_manager").status_code == 403
    assert auditor.get("/limits/reversal/property_manager").status_code == 403
