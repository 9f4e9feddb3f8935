"""Limits as they are set: by whom, how far, and what the audit log keeps of it."""

import pytest
from sqlalchemy import select

from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.approval_models import DeedLimit
from app.permissions.deeds import DEEDS, DeedNotKnown
from app.permissions.limits import LimitUnfit, OwnLimitRaised, load_standing, roles_under, set_limit
from app.permissions.policy import Role
from app.tenants.models import AuditRecord
from tests.factories.people import person


@pytest.fixture
def admin(world, db):
    return person(db, world, Role.GROUP_ADMINISTRATOR, at=world.headquarters_id)


@pytest.fixture
def manager(world, db):
    return person(db, world, Role.PROPERTY_MANAGER)


def put(world, admin, amount_max, *, role="property_manager", deed="reversal", node_id=None, allowed=None):
    node_id = node_id or world.property_id
    reach = [world.headquarters_id, world.property_id] if allowed is None else allowed
    with unit_of_work(world.tenant_id) as session:
        set_limit(
            session,
            node_id=node_id,
            role=role,
            deed=deed,
            amount_max=amount_max,
            allowed=reach,
            by=admin,
            reason="年度复核",
        )


def limit(world, who, deed="reversal"):
    with unit_of_work(world.tenant_id) as session:
        return load_standing(session).limit(int(who.ref), DEEDS[deed], world.property_id)


def test_a_limit_holds_below_until_a_nearer_one_and_goes_away_again(world, admin, manager):
    assert limit(world, manager) == 50_000
    put(world, admin, 100, node_id=world.headquarters_id)
    assert limit(world, manager) == 100
    put(world, admin, 300)
    assert limit(world, manager) == 300
    put(world, admin, 200)
    assert limit(world, manager) == 200
    put(world, admin, None)
    put(world, admin, None)
    assert limit(world, manager) == 100
    with unit_of_work(world.tenant_id) as session:
        told = session.scalars(select(AuditRecord).order_by(AuditRecord.id)).all()
        assert len(session.scalars(select(DeedLimit)).all()) == 1
    assert [(each.before["amount_max"], each.after["amount_max"]) for each in told] == [
        (50_000, 100), (100, 300), (300, 200), (200, 100), (100, 100),
    ]  # fmt: skip
    assert (told[0].reason, told[0].facts) == ("年度复核", {"role": "property_manager", "deed": "reversal"})


@pytest.mark.parametrize(
    ("wishes", "refusal"),
    [
        ({"amount_max": -1}, LimitUnfit),
        ({"amount_max": 10**12}, LimitUnfit),
        ({"amount_max": 1, "role": "cashier"}, LimitUnfit),
        ({"amount_max": 1, "role": "own:gone"}, LimitUnfit),
        ({"amount_max": 2, "deed": "role_change"}, LimitUnfit),
        ({"amount_max": 1, "deed": "dance"}, DeedNotKnown),
        ({"amount_max": 1, "allowed": []}, NotFound),
    ],
)
def test_what_cannot_be_a_limit_is_refused(world, admin, wishes, refusal):
    with pytest.raises(refusal):
        put(world, admin, wishes.pop("amount_max"), **wishes)


def test_nobody_raises_a_limit_they_work_under_and_everybody_may_lower_it(world, admin, db):
    put(world, admin, 400_000, role="group_administrator")
    for raised in (400_001, None):
        with pytest.raises(OwnLimitRaised):
            put(world, admin, raised, role="group_administrator")
    with pytest.raises(OwnLimitRaised):
        put(world, admin, 500_001, role="group_administrator", node_id=world.headquarters_id)
    other = person(db, world, Role.GROUP_FINANCE, at=world.headquarters_id)
    put(world, other, 600_000, role="group_administrator")


def test_every_role_that_may_do_a_deed_is_listed(world):
    with unit_of_work(world.tenant_id) as session:
        named = [role for role, _standard in roles_under(session, DEEDS["mass_control"])]
    assert named == ["group_administrator", "property_manager"]
