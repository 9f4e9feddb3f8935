"""People, roles, permissions and the security policy at the console, and looking through somebody else's eyes."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.approval_models import Approval
from app.permissions.factor_models import UserFactor
from app.permissions.models import Grant, OwnRole, SecurityPolicy, User
from app.permissions.policy import Permission, Role
from app.permissions.service import load_scope
from app.tenants.models import AuditRecord, Node
from app.web.permission_words import area_words, sentences
from tests.factories.world import World, add_property, unique
from tests.web.conftest import PASSWORD, Visitor, make_user

Visit = Callable[..., Visitor]
READER = ["property:wall:read", "account:supply:read"]


def public(db: Database, world: World, user_id: int) -> str:
    """How pages name a person."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return str(session.scalars(select(User.public_id).where(User.id == user_id)).one())


def node(db: Database, world: World, node_id: int) -> str:
    """How forms name a place."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return str(session.scalars(select(Node.public_id).where(Node.id == node_id)).one())


def deeds(db: Database, world: World) -> list[str]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return list(session.scalars(select(AuditRecord.deed).order_by(AuditRecord.id)))


@pytest.fixture
def cashier(db: Database, world: World) -> str:
    """The page of a cashier of the world's property."""
    _login, user_id = make_user(db, world, Role.CASHIER, world.property_id)
    return f"/people/{public(db, world, user_id)}"


# --- words ---


def test_every_permission_has_a_sentence_and_an_area(app: Flask) -> None:
    with app.test_request_context("/"):
        assert set(sentences()) == set(Permission)
        assert {permission.split(":")[0] for permission in Permission} == set(area_words())


# --- the list ---


def test_people_are_listed_with_role_place_and_state_and_found(visit: Visit, world: World, cashier: str) -> None:
    visitor = visit(world)
    page = visitor.text("/people")
    for words in ("营业员", "和风苑", "集团管理员", "未设", "可登录"):
        assert words in page
    assert cashier in visitor.text("/people?role=cashier")
    assert cashier not in visitor.text("/people?role=read_only")
    assert "没有找到人员" in visitor.text("/people?q=nobody-here")
    assert cashier in visitor.text("/people?q=静怡&state=no_factor")
    assert cashier not in visitor.text("/people?state=disabled")


def test_a_manager_sees_their_own_people_only_and_nothing_of_others_grants(
    visit: Visit, world: World, db: Database, cashier: str
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        elsewhere = add_property(session, world, name="翠湖天地")
    _login, stranger = make_user(db, world, Role.CASHIER, elsewhere)
    with unit_of_work(world.tenant_id, db=db) as session:
        own = session.scalars(select(User).where(User.public_id == cashier.split("/")[-1])).one()
        session.add(Grant(user_id=own.id, role=Role.READ_ONLY, node_id=elsewhere))
    visitor = visit(world, Role.PROPERTY_MANAGER)
    foreign = f"/people/{public(db, world, stranger)}"
    page = visitor.text("/people")
    assert cashier in page
    assert foreign not in page
    nowhere = "/people/00000000-0000-7000-8000-000000000000"
    assert [visitor.get(address).status_code for address in (foreign, nowhere)] == [404, 404]
    for address in ("/people", cashier, "/permissions", "/permissions/property:wall:read"):
        assert "翠湖天地" not in visitor.text(address)


def test_the_list_goes_on_by_key(visit: Visit, world: World, db: Database) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        people = [User(login=f"many{world.tenant_id}-{n:03d}", name="x", password_hash="x") for n in range(60)]
        session.add_all(people)
    visitor = visit(world)
    following = re.search(r'href="(/people\?after=[^"]+)"', visitor.text("/people"))
    assert following
    assert f"many{world.tenant_id}-059" in visitor.text(following[1])


# --- a person ---


def test_somebody_new_gets_a_role_and_a_link_to_choose_a_password(
    visit: Visit, app: Flask, world: World, db: Database
) -> None:
    login, at = unique("new"), node(db, world, world.property_id)
    form = {"name": "李 雯", "login": login, "phone": "13812345678", "role": "cashier", "at": at, "until": ""}
    visitor = visit(world)
    answer = visitor.post("/people/new", form, token_from="/people/new")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 201
    assert "138****5678" in page
    assert "13812345678" not in page
    link = re.search(r"/password/[\w-]{20,}", page)
    assert link
    newcomer = Visitor(app.test_client())
    chosen = newcomer.post(link[0], {"password": PASSWORD, "again": PASSWORD}, token_from=link[0])
    assert chosen.status_code == 303
    newcomer.post("/sign-in", {"login": login, "password": PASSWORD}, token_from="/sign-in")
    assert newcomer.get("/home").location == "/counter"
    assert newcomer.get(link[0]).status_code == 410


def test_what_was_typed_is_kept_when_somebody_new_is_refused(visit: Visit, world: World, db: Database) -> None:
    at = node(db, world, world.property_id)
    form = {"name": "李雯", "login": "13812345678", "role": "cashier", "at": at}
    answer = visit(world).post("/people/new", form, token_from="/people/new")
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert 'value="李雯"' in page
    assert "没有添加" in page
    assert "不能是手机号" in page


@pytest.mark.parametrize("address", ["/people/new", "{person}", "{person}/grants", "{person}/link"])
def test_whoever_makes_a_way_in_for_somebody_shows_the_second_factor_first(
    visit: Visit, world: World, db: Database, cashier: str, address: str
) -> None:
    visitor = visit(world)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(
            UserFactor(
                user_id=visitor.user_id, kind="totp", name="手机", secret_cipher=b"x", created_at=wall_now(),
                confirmed_at=wall_now(),
            )
        )  # fmt: skip
    answer = visitor.post(address.format(person=cashier), {"name": "x"}, token_from=cashier)
    assert answer.status_code == 403
    assert "/step-up" in answer.get_data(as_text=True)


def test_a_role_is_given_until_a_day_and_withdrawn(visit: Visit, world: World, db: Database, cashier: str) -> None:
    visitor, at = visit(world), node(db, world, world.property_id)
    until = (wall_now() + timedelta(days=3)).date().isoformat()
    form = {"role": "read_only", "at": at, "until": until, "reason": "代班"}
    assert visitor.post(f"{cashier}/grants", form, token_from=cashier).status_code == 303
    page = visitor.text(cashier)
    assert "只读" in page
    assert "为止" in page
    form = {"role": "read_only", "at": at, "reason": "代班结束"}
    assert visitor.post(f"{cashier}/grants/withdraw", form, token_from=cashier).status_code == 303
    assert visitor.post(f"{cashier}/grants/withdraw", form, token_from=cashier).status_code == 404
    assert {"user:grant:give", "user:grant:withdraw"} <= set(deeds(db, world))


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"role": "property_finance"}, 409, "不能在同一处兼有"),
        ({"role": "king"}, 422, "不存在或已停用"),
        ({"role": "read_only", "until": "2020-01-01"}, 422, "必须晚于现在"),
        ({"role": "read_only", "until": "soon"}, 422, "请选择日期"),
        ({"role": "read_only", "at": "nowhere"}, 404, "找不到"),
    ],
)
def test_a_grant_that_must_not_be_says_why_in_words(
    visit: Visit, world: World, db: Database, cashier: str, form: dict[str, object], status: int, words: str
) -> None:
    given = {"at": node(db, world, world.property_id), **form}
    answer = visit(world).post(f"{cashier}/grants", given, token_from=cashier)
    page = answer.get_data(as_text=True)
    assert answer.status_code == status
    assert words in page
    assert "money:topup:sell" not in page


def test_a_role_of_headquarters_waits_for_another_administrator(visit: Visit, world: World, db: Database) -> None:
    make_user(db, world, Role.GROUP_ADMINISTRATOR, world.headquarters_id)
    _login, user_id = make_user(db, world, Role.READ_ONLY, world.property_id)
    page, visitor = f"/people/{public(db, world, user_id)}", visit(world)
    form = {"role": "group_auditor", "at": node(db, world, world.headquarters_id), "reason": "年度审计"}
    assert visitor.post(f"{page}/grants", {**form, "reason": ""}, token_from=page).status_code == 422
    assert visitor.post(f"{page}/grants", form, token_from=page).status_code == 303
    assert "已提交审批" in visitor.text(page)
    with unit_of_work(world.tenant_id, db=db) as session:
        asked = session.scalars(select(Approval)).one()
        assert (asked.deed, asked.content["role"], asked.reason) == ("role_change", "group_auditor", "年度审计")
        assert session.scalars(select(Grant.role).where(Grant.user_id == user_id)).all() == ["read_only"]


def test_a_manager_gives_nothing_beyond_their_own(visit: Visit, world: World, db: Database, cashier: str) -> None:
    form = {"role": "group_finance", "at": node(db, world, world.property_id)}
    visitor = visit(world, Role.PROPERTY_MANAGER)
    answer = visitor.post(f"{cashier}/grants", form, token_from=cashier)
    assert answer.status_code == 403
    assert "维护核算主体" in answer.get_data(as_text=True)
    offered = re.findall(r'<option value="(\w+)"', visitor.text(cashier))
    assert "cashier" in offered
    assert not {"group_finance", "group_administrator", "platform_operator"} & set(offered)


def test_nobody_changes_themselves(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    mine = f"/people/{public(db, world, visitor.user_id)}"
    assert "这是您自己的账号" in visitor.text(mine)
    form = {"role": "read_only", "at": node(db, world, world.property_id), "reason": "x", "deed": "disable"}
    for deed in ("grants", "state", "link", "view-as"):
        assert visitor.post(f"{mine}/{deed}", form, token_from=mine).status_code == 403, deed


def test_a_person_is_renamed_disabled_enabled_and_their_sessions_end(visit: Visit, world: World, db: Database) -> None:
    visitor, other = visit(world), visit(world, Role.CASHIER)
    page = f"/people/{public(db, world, other.user_id)}"
    visitor.post(page, {"name": "王 小芳", "phone": "13912345678"}, token_from=page)
    said = visitor.text(page)
    assert "王 小芳" in said
    assert "139****5678" in said
    visitor.post(page, {"name": "王 小芳", "forget_phone": "1"}, token_from=page)
    assert "未登记" in visitor.text(page)
    assert other.get("/counter").status_code == 200
    visitor.post(f"{page}/sessions/end", token_from=page)
    assert other.get("/counter").status_code == 302
    visitor.post(f"{page}/state", {"deed": "disable"}, token_from=page)
    assert "已停用" in visitor.text(page)
    visitor.post(f"{page}/state", {"deed": "enable"}, token_from=page)
    assert visitor.post(f"{page}/state", {"deed": "dance"}, token_from=page).status_code == 422
    assert "启用账号" not in visitor.text(page)


# --- roles ---


def test_a_role_is_copied_changed_given_and_withdrawn(visit: Visit, world: World, db: Database, cashier: str) -> None:
    visitor = visit(world)
    form = {"from": "cashier", "name": "查询员", "permission": READER}
    assert visitor.post("/roles/new", form, token_from="/roles/new?from=cashier").status_code == 303
    assert "查询员" in visitor.text("/roles")
    with unit_of_work(world.tenant_id, db=db) as session:
        role = session.scalars(select(OwnRole)).one()
    code = role.code
    given = {"role": code, "at": node(db, world, world.property_id)}
    assert visitor.post(f"{cashier}/grants", given, token_from=cashier).status_code == 303
    assert "查询员" in visitor.text(cashier)
    form = {"name": "抄表查询员", "permission": [*READER, "meter:meter:read"]}
    assert visitor.post(f"/roles/{code}", form, token_from=f"/roles/{code}").status_code == 303
    assert "抄表查询员" in visitor.text("/permissions/meter:meter:read")
    assert visitor.post(f"/roles/{code}/withdraw", token_from=f"/roles/{code}").status_code == 303
    assert visitor.get(f"/roles/{code}").status_code == 404
    assert "已停用的角色" in visitor.text(cashier)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"permission": ["money:topup:sell", "money:refund:give"]}, 409, "在柜台收款充值"),
        ({"permission": ["platform:key:rotate"]}, 403, "平台运维"),
        ({"permission": ["moon:cheese:eat"]}, 422, "没有这些权限"),
        ({"permission": []}, 422, "至少要有一项权限"),
        ({"name": ""}, 422, "请填写角色名称"),
        ({"from": "platform_operator"}, 404, "找不到"),
        ({"from": "king"}, 404, "找不到"),
    ],
)
def test_a_role_that_must_not_be_says_why(
    visit: Visit, world: World, fields: dict[str, object], status: int, words: str
) -> None:
    form = {"from": "cashier", "name": "查询员", "permission": READER, **fields}
    answer = visit(world).post("/roles/new", form, token_from="/roles/new?from=cashier")
    assert answer.status_code == status
    assert words in answer.get_data(as_text=True)


def test_a_manager_reads_roles_and_edits_none(visit: Visit, world: World) -> None:
    visitor = visit(world, Role.PROPERTY_MANAGER)
    assert "/roles/new" not in visitor.text("/roles")
    assert visitor.get("/roles/new?from=cashier").status_code == 403


def test_the_overview_names_who_holds_what_through_which_role(
    visit: Visit, world: World, db: Database, cashier: str
) -> None:
    visitor = visit(world)
    page = visitor.text("/permissions")
    for permission in Permission:
        assert permission.value in page
    holders = visitor.text("/permissions/money:topup:sell")
    assert cashier in holders
    assert "营业员" in holders
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(User).where(User.public_id == cashier.split("/")[-1]).values(disabled_at=wall_now()))
    assert cashier not in visitor.text("/permissions/money:topup:sell")
    assert visitor.get("/permissions/moon:cheese:eat").status_code == 404


# --- view as ---


def test_an_administrator_sees_what_a_cashier_sees_and_does_nothing(
    visit: Visit, world: World, db: Database, cashier: str
) -> None:
    visitor = visit(world)
    answer = visitor.post(f"{cashier}/view-as", token_from=cashier)
    assert answer.status_code == 303
    assert visitor.get("/home").location == "/counter"
    page = visitor.text("/counter")
    assert "正在以 陈静怡（营业员）的视角查看" in page
    assert visitor.get("/meters").status_code == 403
    assert visitor.get("/people").status_code == 403
    refused = visitor.post("/counter/00000000-0000-7000-8000-000000000000", {"amount": "5"}, token_from="/counter")
    assert refused.status_code == 403
    assert "不能办理任何业务" in refused.get_data(as_text=True)  # ViewingOnly, before anything is looked up
    assert visitor.post("/security/password", {"old": "x"}, token_from="/counter").status_code == 403
    assert visitor.post("/view-as/end", token_from="/counter").status_code == 303
    assert "视角查看，" not in visitor.text("/people")
    assert [deed for deed in deeds(db, world) if deed.startswith("user:view")] == ["user:view:begin", "user:view:end"]


def test_signing_out_ends_the_view_and_says_so(visit: Visit, world: World, db: Database, cashier: str) -> None:
    visitor = visit(world)
    visitor.post(f"{cashier}/view-as", token_from=cashier)
    visitor.post("/sign-out", token_from="/counter")
    assert [deed for deed in deeds(db, world) if deed.startswith("user:view")] == ["user:view:begin", "user:view:end"]


def test_nobody_sees_more_by_viewing_and_managers_do_not_view(
    visit: Visit, world: World, db: Database, cashier: str
) -> None:
    manager = visit(world, Role.PROPERTY_MANAGER)
    assert manager.post(f"{cashier}/view-as", token_from=cashier).status_code == 403
    _login, operator = make_user(db, world, Role.PLATFORM_OPERATOR, world.headquarters_id)
    boss, page = visit(world), f"/people/{public(db, world, operator)}"
    answer = boss.post(f"{page}/view-as", token_from=page)
    assert answer.status_code == 403
    assert "更换加密密钥" in answer.get_data(as_text=True)


def test_what_the_viewed_person_gains_meanwhile_is_not_shown_to_a_viewer_without_it(
    visit: Visit, world: World, db: Database, cashier: str
) -> None:
    visitor = visit(world)
    visitor.post(f"{cashier}/view-as", token_from=cashier)
    with unit_of_work(world.tenant_id, db=db) as session:
        viewed = session.scalars(select(User).where(User.public_id == cashier.split("/")[-1])).one()
        session.add(Grant(user_id=viewed.id, role=Role.PLATFORM_OPERATOR, node_id=world.headquarters_id))
        session.flush()
        assert Permission.PLATFORM_KEY_ROTATE in load_scope(session, user_id=viewed.id).permissions
    assert visitor.get("/meters").status_code == 200
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(User).where(User.id == viewed.id).values(disabled_at=wall_now()))
    assert "视角查看，" not in visitor.text("/people")  # nobody is seen through a closed eye


# --- the policy ---


def test_the_security_policy_is_changed_by_headquarters_within_bounds(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    figures = {"session_hours_max": "8", "session_idle_min": "30", "approval_hours_max": "24", "audit_keep_days": "365"}
    assert 'value="120"' in visitor.text("/security-policy")
    assert visitor.post("/security-policy", figures, token_from="/security-policy").status_code == 303
    with unit_of_work(world.tenant_id, db=db) as session:
        kept = session.scalars(select(SecurityPolicy)).one()
        assert (kept.session_hours_max, kept.session_idle_min, kept.second_factor_required) == (8, 30, False)
    for wrong in ({"audit_keep_days": "179"}, {"session_idle_min": "x"}, {"approval_hours_max": "9999999999"}):
        answer = visitor.post("/security-policy", {**figures, **wrong}, token_from="/security-policy")
        assert answer.status_code == 422
        assert "没有保存" in answer.get_data(as_text=True)
    manager = visit(world, Role.PROPERTY_MANAGER)
    assert "保存" not in manager.text("/security-policy")
    assert manager.post("/security-policy", figures).status_code == 403


def test_who_has_no_page_of_daily_work_lands_all_the_same(visit: Visit, world: World) -> None:
    for role in Role:
        visitor = visit(world, role)
        assert visitor.get(visitor.get("/home").location).status_code == 200, role
