"""API tokens: who may issue what, from where a token may come, what stays in the log."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import ApiToken
from app.permissions.policy import ROLES, Permission, Role
from app.permissions.reach import RightsBeyondYours
from app.permissions.service import create_user, grant_role
from app.permissions.tokens import (
    MACHINE_PERMISSIONS,
    AddressRangeUnreadable,
    NotForMachines,
    TokenExpiresTooLate,
    TokenFromElsewhere,
    TokenNameMissing,
    TokenUnknown,
    comes_from,
    find_token,
    issue_token,
    list_tokens,
    read_range,
    revoke_token,
)
from app.tenants.models import AuditRecord
from tests.factories.world import World, add_property, unique

SYSTEM = Actor.system("tests")
LOADS = (Permission.READING_IMPORT_LOAD,)


def issue(session: Session, world: World, **wishes: object) -> str:
    given = {
        "node_id": world.property_id, "name": "抄表系统", "permissions": LOADS,
        "expires_at": wall_now() + timedelta(days=30), "by": SYSTEM,
    }  # fmt: skip
    return issue_token(session, **(given | wishes))  # type: ignore[arg-type]


def person(session: Session, role: Role, node_id: int) -> Actor:
    user = create_user(session, login=unique("u"), name="陈静怡", password="correct horse 7 staple", by=SYSTEM)
    session.flush()
    grant_role(session, user=user, role=role, node_id=node_id, by=SYSTEM)
    return Actor.user(user.id)


def test_machines_hold_nothing_that_moves_money_power_rights_or_shows_people() -> None:
    forbidden = {"money", "person", "user", "approval", "supply", "plan", "audit", "platform", "api", "onboarding"}
    assert not {p.value.split(":")[0] for p in MACHINE_PERMISSIONS} & forbidden
    assert ROLES[Role.GROUP_ADMINISTRATOR] >= MACHINE_PERMISSIONS


def test_an_issuer_gives_what_they_hold_where_they_manage_tokens(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        sibling = add_property(session, world, name="隔壁苑")
        manager = person(session, Role.PROPERTY_MANAGER, world.property_id)
        assert find_shape(issue(session, world, by=manager))
        assert session.scalars(select(ApiToken.issued_by)).one() == str(manager)
        with pytest.raises(NotFound):
            issue(session, world, by=manager, node_id=sibling)
        with pytest.raises(NotFound):
            issue(session, world, by=person(session, Role.METER_ENGINEER, world.property_id))


def test_an_issuer_without_the_permission_cannot_give_it(
    db: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = dict(ROLES) | {Role.PROPERTY_MANAGER: ROLES[Role.PROPERTY_MANAGER] - set(LOADS)}
    monkeypatch.setattr("app.permissions.policy.ROLES", fewer)
    with unit_of_work(world.tenant_id, db=db) as session:
        manager = person(session, Role.PROPERTY_MANAGER, world.property_id)
        with pytest.raises(RightsBeyondYours):
            issue(session, world, by=manager)


@pytest.mark.parametrize(
    ("wishes", "refusal"),
    [
        ({"permissions": ()}, NotForMachines),
        ({"permissions": (*LOADS, Permission.MONEY_TOPUP_SELL)}, NotForMachines),
        ({"name": "  "}, TokenNameMissing),
        ({"name": "长" * 61}, TokenNameMissing),
        ({"expires_at": wall_now() + timedelta(days=740)}, TokenExpiresTooLate),
        ({"addresses": ["203.0.113.5/24"]}, AddressRangeUnreadable),
        ({"addresses": ["example.com"]}, AddressRangeUnreadable),
        ({"addresses": [f"203.0.113.{n}" for n in range(21)]}, AddressRangeUnreadable),
    ],
)
def test_what_is_not_issued(db: Database, world: World, wishes: dict[str, object], refusal: type[Exception]) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        with pytest.raises(refusal):
            issue(session, world, **wishes)
        assert list(session.scalars(select(ApiToken))) == []


def test_a_token_is_good_from_its_addresses_only_and_the_log_says_who_tried(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        raw = issue(session, world, addresses=["203.0.113.0/24", "2001:db8::/32"])
    for good in ("203.0.113.9", "2001:db8::7", "::ffff:203.0.113.9"):
        assert find_token(db, raw, address=good).tenant_id == world.tenant_id
    for _twice in range(2):
        with pytest.raises(TokenFromElsewhere):
            find_token(db, raw, address="198.51.100.7")
    with unit_of_work(world.tenant_id, db=db) as session:
        token = session.scalars(select(ApiToken)).one()
        tried = session.scalars(select(AuditRecord).where(AuditRecord.deed == "api:token:use")).all()
    assert (token.last_used_from, token.elsewhere_from) == ("203.0.113.9", "198.51.100.7")
    assert [(r.result, r.address, r.subject, r.property_id) for r in tried] == [
        ("refused", "198.51.100.7", f"api_tokens:{token.id}", world.property_id)
    ]


def test_issue_and_revocation_stand_in_the_log_with_before_and_after(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        raw = issue(session, world, addresses=["203.0.113.9"])
        token = list_tokens(session, allowed=[world.property_id])[0]
        revoke_token(session, token_id=token.id, allowed=[world.property_id], by=SYSTEM)
        records = session.scalars(
            select(AuditRecord).where(AuditRecord.subject == f"api_tokens:{token.id}").order_by(AuditRecord.id)
        ).all()
    issued, revoked = [(r.deed, r.before or {}, r.after or {}) for r in records]
    assert (issued[0], issued[1], issued[2]["addresses"]) == ("api:token:issue", {}, ["203.0.113.9/32"])
    assert (revoked[0], revoked[1]["revoked"], revoked[2]["revoked"]) == ("api:token:revoke", False, True)
    assert raw not in str([r.after for r in records])


@pytest.mark.parametrize(
    "raw",
    ["", "th_", "th_nothing", "th_" + "a" * 42, "th_" + "a" * 44, "th_" + "a" * 42 + "!", "TH_" + "a" * 43,
     "th_" + "甲" * 43, "th_" + "a" * 43 + "\n", "th_" + "a" * 20_000, "'; DROP TABLE api_tokens; --", "th_\x00" + "a" * 42],
)  # fmt: skip
def test_what_does_not_look_like_a_token_is_refused_without_asking_the_database(raw: str) -> None:
    with pytest.raises(TokenUnknown):
        find_token(None, raw)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "ranges", "comes"),
    [
        ("198.51.100.1", [], True),
        ("198.51.100.1", ["198.51.100.1/32"], True),
        ("198.51.100.2", ["198.51.100.1/32"], False),
        ("10.1.2.3", ["10.0.0.0/8", "192.0.2.0/24"], True),
        ("2001:db8::1", ["10.0.0.0/8"], False),
        ("nonsense", ["10.0.0.0/8"], False),
        ("", ["0.0.0.0/0"], False),
    ],
)
def test_where_an_address_comes_from(address: str, ranges: list[str], comes: bool) -> None:
    assert comes_from(address, ranges) is comes


def test_one_address_is_a_range_of_its_own() -> None:
    assert [read_range(text) for text in (" 203.0.113.9 ", "2001:DB8::1")] == ["203.0.113.9/32", "2001:db8::1/128"]


def find_shape(raw: str) -> bool:
    return raw.startswith("th_") and len(raw) == 46
