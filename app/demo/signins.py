"""Who may sign in to the demo. Names are fixed; the password is this installation's own; both go when a tenant is real."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.collection import assign_building
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import User
from app.permissions.policy import Permission, Role
from app.permissions.service import create_user, grant_role
from app.permissions.tokens import TokenExpired, TokenUnknown, find_token, issue_token
from app.settings import Settings
from app.tenants.models import Building, Node, Tenant

TOKEN_LASTS = timedelta(days=365)
SEEDER = Actor.system("demo")


class DemoNotAlone(AppError):
    """A real tenant lives in this database: the demo's clock and sign-ins do not exist beside it."""

    code, status = "demo_not_alone", 403
    message_zh = "数据库中已有正式集团，演示功能停用。请在单独的数据库中运行演示。"
    message_en = "A real group lives in this database, so the demo is off. Run the demo in a database of its own."


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in of the demo: its name, what it may do and where ('' is the whole group)."""

    login: str
    name: str
    role: Role
    site: str
    does: str


SIGN_INS = (
    SignIn("hq-admin", "总部管理员", Role.GROUP_ADMINISTRATOR, "", "the whole group"),
    SignIn("manager-hefeng", "和风苑项目经理", Role.PROPERTY_MANAGER, "和风苑", "one property"),
    SignIn("cashier-hefeng", "和风苑营业员", Role.CASHIER, "和风苑", "the counter of 和风苑"),
    SignIn("cashier-linjiang", "临江广场营业员", Role.CASHIER, "临江广场", "the counter of 临江广场"),
    SignIn("cashier-xuefu", "学府公寓营业员", Role.CASHIER, "学府公寓", "the counter of 学府公寓"),
    SignIn("finance-hq", "集团财务", Role.GROUP_FINANCE, "", "money and prices of the whole group"),
    SignIn("auditor-hq", "集团审计", Role.GROUP_AUDITOR, "", "everything, changing nothing"),
    SignIn("energy-hq", "能源经理", Role.ENERGY_MANAGER, "", "usage of the whole group"),
    SignIn("finance-hefeng", "和风苑财务", Role.PROPERTY_FINANCE, "和风苑", "money of 和风苑"),
    SignIn("meter-hefeng", "和风苑表计工程师", Role.METER_ENGINEER, "和风苑", "meters and gateways of 和风苑"),
    SignIn("duty-hefeng", "和风苑值班员", Role.DUTY_OFFICER, "和风苑", "light at night in 和风苑"),
    SignIn("steward-hefeng", "和风苑楼栋管家", Role.BUILDING_STEWARD, "和风苑", "the call list of 和风苑"),
    SignIn("reader-hefeng", "和风苑来访者", Role.READ_ONLY, "和风苑", "和风苑, looking only"),
)
MANAGER, CASHIER = SIGN_INS[1:3]


def demo_allowed(db: Database) -> bool:
    """True while demo tenants are alone in the database."""
    with db.without_tenant() as connection:
        kinds = set(connection.scalars(select(Tenant.kind).distinct()))
    return kinds == {"demo"}


def is_closed(db: Database, login: str) -> bool:
    """Is it a sign-in of the demo where the demo may not be? Its password is nobody's secret."""
    return login.strip().lower() in {who.login for who in SIGN_INS} and not demo_allowed(db)


def password_of(settings: Settings) -> str:
    """The one password of the demo's sign-ins: follows from the installation's secret, so nothing has to keep it."""
    mark = hmac.new(settings.secret_key.encode(), b"demo sign-ins", hashlib.sha256).hexdigest()
    return f"zhangfang-{mark[:8]}"


def make_users(session: Session, *, settings: Settings, nodes: dict[str, int], headquarters_id: int) -> dict[str, User]:
    """Make the demo's operators that are not there yet; those of properties that were not built are left out.

    Returns login → user of those just made.
    """
    known, users = set(session.scalars(select(User.login))), {}
    for sign_in in SIGN_INS:
        if sign_in.login in known:
            continue
        node_id = nodes.get(sign_in.site) if sign_in.site else headquarters_id
        if node_id is not None:
            user = create_user(
                session, login=sign_in.login, name=sign_in.name, password=password_of(settings), by=SEEDER
            )
            grant_role(session, user=user, role=sign_in.role, node_id=node_id, by=SEEDER)
            if sign_in.role is Role.BUILDING_STEWARD:
                _give_first_building(session, user=user, property_id=node_id)
            users[sign_in.login] = user
    return users


def _give_first_building(session: Session, *, user: User, property_id: int) -> None:
    """One building, so that the call list shows somebody and leaves the neighbours out."""
    query = select(Building).where(Building.property_id == property_id).order_by(Building.id).limit(1)
    building = session.scalar(query)
    if building is not None:
        assign_building(session, building=building, user_id=user.id, by=SEEDER)


def add_missing_users(db: Database, *, settings: Settings, tenant_id: int, nodes: dict[str, int]) -> None:
    """Make the sign-ins that came after this demo was seeded: every one that is printed opens."""
    with unit_of_work(tenant_id, db=db) as session:
        headquarters = session.scalars(select(Node).where(Node.kind == "headquarters")).one()
        make_users(session, settings=settings, nodes=nodes, headquarters_id=headquarters.id)


def token_path(settings: Settings) -> Path:
    """Where the demo's API token is kept, readable by its owner only."""
    return settings.var_path / "demo_token"


def api_token(db: Database, *, settings: Settings, tenant_id: int, property_id: int) -> str:
    """The demo's API token for readings: the kept one while it is good, otherwise a new one."""
    path = token_path(settings)
    kept = path.read_text().strip() if path.exists() else ""
    try:
        return kept if find_token(db, kept).tenant_id == tenant_id else _issue(db, settings, tenant_id, property_id)
    except (TokenUnknown, TokenExpired):
        return _issue(db, settings, tenant_id, property_id)


def _issue(db: Database, settings: Settings, tenant_id: int, property_id: int) -> str:
    with unit_of_work(tenant_id, db=db) as session:
        raw = issue_token(
            session,
            node_id=property_id,
            name="演示抄表接口",
            permissions=[Permission.READING_IMPORT_LOAD],
            expires_at=wall_now() + TOKEN_LASTS,
            by=SEEDER,
        )
    path = token_path(settings)
    path.touch(mode=0o600)
    path.write_text(raw)
    return raw
