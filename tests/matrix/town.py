"""Two tenants, three properties, everybody who might ask: the town in which every route is tried.

`mine` is the property of the people who ask, `sibling` another property of their tenant, `theirs` another tenant. Each holds
money, readings, a stop, and at least one row in every table, so that no answer is empty by chance. Everything a person
could have typed in `sibling` and `theirs` says so: it carries a canary that must never be seen from `mine`.
"""

import re
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, g, request
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from app import create_app
from app.billing.giving_back import make_refund
from app.billing.models import SupplyAccount
from app.kernel.actor import Actor
from app.kernel.clock import business_now, wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database, database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import CounterPc, UserFactor
from app.permissions.models import ApiToken, Grant, OwnRole, User, UserSession
from app.permissions.policy import ROLES, Permission, Role
from app.permissions.sessions import begin_session
from app.tenants import directory
from app.tenants.models import Node, Party
from app.tenants.personal_data import change_phone
from tests.factories.history import bring_online, close_days, pay, read_hourly, stop_in_force
from tests.factories.people import person
from tests.factories.world import World, build_sibling, build_world, unique
from tests.matrix.canaries import mark_everything
from tests.matrix.headers import faults_of
from tests.matrix.planting import plant
from tests.web.conftest import settings_for

OWN, SIBLING, FOREIGN = "own", "sibling", "foreign"
PLACES = (OWN, SIBLING, FOREIGN)
#: Where a role of the whole group lives as well.
AT_HEADQUARTERS = tuple(role for role in Role if role.value.startswith(("group_", "platform_", "energy_", "read_")))
#: The first ten digits of a place's phones; the last is the number of the party. Nobody reads those of other places.
PHONES = {OWN: "1380000111", SIBLING: "1391111222", FOREIGN: "1362222333"}
#: A request with this header does everything it would do, and nothing of it stays.
REHEARSAL = "X-Rehearsal"
#: Tables that the open transaction has written to, as PostgreSQL itself counts them.
TOUCHED = "SELECT relname FROM pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY relname"
USED = re.compile(r"UPDATE (user_sessions SET seen_at=|api_tokens SET last_used)")
#: Settings without which some pages have nothing to say.
TOLD = {"PUBLIC_URL": "https://localhost", "TLS": "1"} | dict.fromkeys(
    ("LIMIT_TENANT", "LIMIT_USER", "LIMIT_TOKEN", "LIMIT_ADDRESS", "LIMIT_SIGN_IN", "LIMIT_EXPORT", "LIMIT_UNMASK"), ""
)
HOME, COOKIE = "https://localhost", "__Host-tallyhouse"
#: When the second factor of a session was shown, from now: a run takes longer than a factor stays fresh.
FRESH, STALE = timedelta(hours=12), timedelta(hours=-1)


@dataclass(frozen=True)
class Guest:
    """Somebody who asks: a role at a node (None for a stranger), with a session of their own."""

    name: str
    role: Role | None = None
    node_id: int | None = None
    user_id: int = 0
    cookie: str = ""
    form_token: str = ""
    bearer: str = ""
    #: Whether the second factor was shown too long ago for what asks for a fresh one.
    stale: bool = False
    #: Whether the session was opened by PIN at the property's counter: a cashier's rights at most, and there only.
    by_pin: bool = False
    #: What is held where that is not what the standard role says: an own role, a grant that ended.
    held: frozenset[Permission] | None = None
    #: The token of a resident's phone.
    resident: str = ""

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the guest holds somewhere."""
        if self.held is not None:
            return self.held
        held = ROLES[self.role] if self.role else frozenset()
        return held & ROLES[Role.CASHIER] if self.by_pin else held


@dataclass
class Town:
    """The application, its places and its guests."""

    db: Database
    #: The application's own connections.
    app_db: Database
    app: Flask
    worlds: dict[str, World]
    clock_file: Path
    guests: dict[str, Guest] = field(default_factory=dict)
    #: Values of arguments by part of the rule, place and person.
    found: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    #: What further tests have found or made once.
    pages: dict[tuple[str, str], str] = field(default_factory=dict)
    #: Asked with the request's session before a rehearsed request is taken back.
    look: Callable[[Session], None] | None = None

    def reaches(self, guest: Guest, place: str) -> bool:
        """Whether a place lies at or below the node where the guest holds a role."""
        if guest.role is None or place == FOREIGN:
            return False
        if guest.by_pin and place != OWN:
            return False
        return guest.node_id in (self.worlds[OWN].headquarters_id, self.worlds[place].property_id)

    def public_id(self, place: str) -> str:
        """How addresses and forms name a property."""
        world = self.worlds[place]
        with unit_of_work(world.tenant_id, db=self.db) as session:
            return str(session.scalars(select(Node.public_id).where(Node.id == world.property_id)).one())

    def foreign_ids(self, place: str) -> list[str]:
        """Public ids and numbers of things of a place, for forms that ask for one."""
        world = self.worlds[place]
        with unit_of_work(world.tenant_id, db=self.db) as session:
            queries = [
                select(SupplyAccount.public_id).where(SupplyAccount.property_id == world.property_id),
                select(User.public_id).where(
                    User.id.in_(select(Grant.user_id).where(Grant.node_id == world.property_id))
                ),
            ]
            named = [str(session.scalars(query.limit(1)).first()) for query in queries]
        return [*named, str(world.property_id), str(world.supply_account_ids[0]), str(world.meter_ids[0])]

    def again(self, guest: Guest) -> Guest:
        """The same guest in a new session, for what ends sessions."""
        if guest.role is None:
            return guest
        assert guest.node_id is not None
        token = _session(self, self.worlds[OWN], guest.user_id)
        cookie, form_token = _browser(self, token)
        return replace(guest, cookie=cookie, form_token=form_token)

    def client(self, guest: Guest) -> FlaskClient:
        """A browser of the guest's, signed in."""
        client = self.app.test_client()
        if guest.cookie:
            client.set_cookie(COOKIE, guest.cookie)
        if guest.resident:
            client.set_cookie("__Host-resident", guest.resident)
        return client

    def ask(self, guest: Guest, method: str, address: str, **options: Any) -> Any:
        """One request; an unsafe one carries the form's token and is rehearsed only."""
        headers = dict(options.pop("headers", {}))
        if guest.bearer:
            headers["Authorization"] = f"Bearer {guest.bearer}"
        if method not in ("GET", "HEAD", "OPTIONS"):
            headers.setdefault(REHEARSAL, "1")
            if "json" not in options and "data" not in options:
                options["data"] = {}
            if isinstance(options.get("data"), dict):
                options["data"] = {"csrf_token": guest.form_token} | options["data"]
            else:
                headers.setdefault("X-CSRFToken", guest.form_token)
        headers.setdefault("Referer", HOME)
        answer = self.client(guest).open(
            address, method=method, headers=headers, base_url=HOME, buffered=True, **options
        )
        broken = faults_of(answer, static=address.startswith("/static/"))
        assert not broken, f"{method} {address} by {guest.name} ({answer.status_code}): {broken}"
        return answer

    @contextmanager
    def writes(self) -> Iterator[list[str]]:
        """Tables written by every transaction that is committed meanwhile, other than notes of use."""
        seen: list[str] = []
        pending: dict[int, list[str]] = {}

        def note(connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if statement.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
                pending.setdefault(id(connection), []).append(statement)

        def keep(connection: Any) -> None:
            said = pending.pop(id(connection), [])
            if connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()").scalar() is None:
                return
            touched = connection.exec_driver_sql(TOUCHED).scalars().all()
            seen.extend(table for table in touched if not _is_note_of_use(table, said))

        def forget(connection: Any) -> None:
            pending.pop(id(connection), None)

        engine = self.app_db.engine
        # A connection given back is rolled back without a word, so each transaction begins with a clean sheet.
        listened = (("begin", forget), ("before_cursor_execute", note), ("commit", keep), ("rollback", forget))
        for name, heard in listened:
            event.listen(engine, name, heard)
        try:
            yield seen
        finally:
            for name, heard in listened:
                event.remove(engine, name, heard)


def _is_note_of_use(table: str, said: list[str]) -> bool:
    """When a session or a token was last seen: the one thing that reading may write."""
    mine = [statement for statement in said if statement.split()[1:2] == [table]]
    return table in ("user_sessions", "api_tokens") and all(USED.match(statement) for statement in mine)


def _count_apart(connection: Any) -> None:
    """PostgreSQL hands in what a transaction wrote once a second; here each hands in its own."""
    connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")


def build_town(db: Database, owner_url: str, folder: Path, clock_file: Path, **wishes: str) -> Town:
    """Everything, once per worker."""
    mine = build_world(db)
    sibling = build_sibling(db, mine, name="翠湖天地")
    theirs = build_world(db)
    worlds = {OWN: mine, SIBLING: sibling, FOREIGN: theirs}
    for world in (mine, theirs):
        bring_online(db, world)
    for place, world in worlds.items():
        _live_in(db, place, world)
    app = create_app(settings_for(folder, CLOCK_FILE=str(clock_file), DATABASE_POOL_MAX="6", **TOLD | wishes))
    app.testing, app.config["PROPAGATE_EXCEPTIONS"] = True, False
    town = Town(db, database(), app, worlds, clock_file)
    _let_rehearse(app, town)
    event.listen(town.app_db.engine, "begin", _count_apart)
    _invite(town)
    plant(owner_url, list(worlds.values()))
    mark_everything(owner_url, sibling=sibling, theirs=theirs)
    return town


def _live_in(db: Database, place: str, world: World) -> None:
    """Money, three days of readings, a stop that is paid for, and what else a property comes to hold."""
    now = business_now()
    for index in range(4):
        pay(db, world, index, fen=3_000 * (index + 1))
    read_hourly(db, world, since=now - timedelta(hours=30), hours=28)
    close_days(db, world)
    stop_in_force(db, world, 3, paid=True)
    with unit_of_work(world.tenant_id, db=db) as session:
        account = session.scalars(select(SupplyAccount).where(SupplyAccount.id == world.supply_account_ids[0])).one()
        make_refund(
            session, account=account, amount_fen=100, way="cash", reason="多收", actor=Actor.system("tests"),
            idempotency_key=unique("refund"),
        )  # fmt: skip
        parties = select(Party).where(Party.property_id == world.property_id).order_by(Party.id)
        for number, party in enumerate(session.scalars(parties)):
            change_phone(session, party=party, phone=f"{PHONES[place]}{number}")


def _let_rehearse(app: Flask, town: Town) -> None:
    """Hooks after a request run last come first served: this one is asked before what commits."""

    def take_back(response: Any) -> Any:
        if request.headers.get(REHEARSAL) and "session" in g and g.get("work") is not None:
            if response.status_code < 400 and town.look is not None:
                town.look(g.session)
            g.session.rollback()
        return response

    app.after_request(take_back)


def _invite(town: Town) -> None:
    mine = town.worlds[OWN]
    wanted = [(f"{role.value}@property", role, mine.property_id) for role in Role]
    wanted += [(f"{role.value}@headquarters", role, mine.headquarters_id) for role in AT_HEADQUARTERS]
    for name, role, node_id in wanted:
        town.guests[name] = _guest(town, mine, name, role, node_id)
    for name in ("group_administrator@headquarters", "property_manager@property"):
        town.guests[f"{name}, stale"] = _stale(town, town.guests[name])
    for name in ("cashier@property", "property_manager@property", "group_administrator@headquarters"):
        town.guests[f"{name}, by PIN"] = _by_pin(town, town.guests[name])
    town.guests["own role@property"] = _with_own_role(town)
    town.guests["ended@property"] = _with_ended_grant(town)
    town.guests["stranger"] = _stranger(town)
    for name, held in (("token", [Permission.READING_IMPORT_LOAD, Permission.METER_METER_READ]), ("token@nothing", [])):
        town.guests[name] = _token(town, mine, name, held)
    for world in town.worlds.values():  # nobody asks with these: they are whom the others do something to
        _guest(town, world, "somebody", Role.METER_ENGINEER, world.property_id)


def _guest(town: Town, world: World, name: str, role: Role, node_id: int) -> Guest:
    who = person(town.db, world, role, at=node_id)
    with unit_of_work(world.tenant_id, db=town.db) as session:
        session.add(
            UserFactor(
                user_id=int(who.ref), kind="passkey", name="phone", credential_id=secrets.token_bytes(16),
                public_key=b"x", created_at=wall_now(), confirmed_at=wall_now(),
            )
        )  # fmt: skip
    cookie, form_token = _browser(town, _session(town, world, int(who.ref)))
    return Guest(name, role, node_id, int(who.ref), cookie, form_token)


def _session(town: Town, world: World, user_id: int, *, shown: timedelta = FRESH) -> str:
    """The token of a session opened with a second factor just now."""
    with unit_of_work(world.tenant_id, db=town.db) as session:
        user = session.scalars(select(User).where(User.id == user_id)).one()
        return begin_session(session, user=user, address="127.0.0.1", agent="tests", factor_at=wall_now() + shown)


def _stale(town: Town, guest: Guest) -> Guest:
    cookie, form_token = _browser(town, _session(town, town.worlds[OWN], guest.user_id, shown=STALE))
    return replace(guest, name=f"{guest.name}, stale", cookie=cookie, form_token=form_token, stale=True)


def _by_pin(town: Town, guest: Guest) -> Guest:
    mine = town.worlds[OWN]
    with unit_of_work(mine.tenant_id, db=town.db) as session:
        now = wall_now()
        pc = CounterPc(
            property_id=mine.property_id, name=f"PC {guest.name}", digest=secrets.token_bytes(32),
            registered_by="system:tests", created_at=now, expires_at=now + timedelta(days=1),
        )  # fmt: skip
        session.add(pc)
        session.flush()
        user = session.scalars(select(User).where(User.id == guest.user_id)).one()
        opened = {"opened_by": "pin", "counter_pc_id": pc.id, "factor_at": wall_now() + FRESH}
        token = begin_session(session, user=user, address="127.0.0.1", agent="tests", **opened)
    cookie, form_token = _browser(town, token)
    return replace(guest, name=f"{guest.name}, by PIN", cookie=cookie, form_token=form_token, by_pin=True)


def _with_own_role(town: Town) -> Guest:
    """A copy of read-only with something taken away and something added: rights follow the copy, not its name."""
    mine = town.worlds[OWN]
    held = ROLES[Role.READ_ONLY] - {Permission.METER_METER_READ} | {Permission.READING_IMPORT_LOAD}
    with unit_of_work(mine.tenant_id, db=town.db) as session:
        role = {"based_on": "read_only", "permissions": sorted(held), "changed_at": wall_now()}
        session.add(OwnRole(code="own:matrix", name="自定义角色", **role))
    guest = _guest(town, mine, "own role@property", Role.READ_ONLY, mine.property_id)
    _change_grant(town, guest, role="own:matrix")
    return replace(guest, held=held)


def _with_ended_grant(town: Town) -> Guest:
    """Somebody whose only grant is over: nothing is held any more, though the session lives."""
    mine = town.worlds[OWN]
    guest = _guest(town, mine, "ended@property", Role.PROPERTY_MANAGER, mine.property_id)
    _change_grant(town, guest, ends_at=wall_now() - timedelta(hours=1))
    return replace(guest, held=frozenset())


def _change_grant(town: Town, guest: Guest, **values: Any) -> None:
    with unit_of_work(town.worlds[OWN].tenant_id, db=town.db) as session:
        session.execute(update(Grant).where(Grant.user_id == guest.user_id).values(**values))


def viewing(town: Town, guest: Guest, other: Guest) -> Guest:
    """The guest in a new session, seeing the console as somebody else."""
    again = town.again(guest)
    with unit_of_work(town.worlds[OWN].tenant_id, db=town.db) as session:
        newest = select(UserSession.digest).where(UserSession.user_id == guest.user_id)
        digest = session.scalars(newest.order_by(UserSession.created_at.desc()).limit(1)).one()
        view = update(UserSession).where(UserSession.digest == digest).values(view_as_user_id=other.user_id)
        session.execute(view)
    return again


def _stranger(town: Town) -> Guest:
    cookie, form_token = _browser(town, None)
    return Guest("stranger", cookie=cookie, form_token=form_token)


def _browser(town: Town, token: str | None) -> tuple[str, str]:
    """The cookie of a signed-in browser, and a token for its forms."""
    raw = secrets.token_hex(20)
    client = town.app.test_client()
    with client.session_transaction(base_url=HOME) as browser:
        browser["csrf_token"] = raw
        if token:
            browser.update({"_user_id": token, "_fresh": True})
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    return cookie.value, URLSafeTimedSerializer(town.app.secret_key, salt="wtf-csrf-token").dumps(raw)


def _token(town: Town, world: World, name: str, permissions: list[Permission]) -> Guest:
    """A machine of the property. Made by hand: a token that may do nothing is not issued by the product."""
    raw = "th_" + secrets.token_urlsafe(32)
    with unit_of_work(world.tenant_id, db=town.db) as session:
        now = wall_now()
        session.add(
            ApiToken(
                node_id=world.property_id, name=name, digest=directory_digest("api_token", raw),
                permissions=sorted(permissions), created_at=now, expires_at=now + timedelta(days=30),
            )
        )  # fmt: skip
        directory.enter(session, kind="api_token", value=raw)
    cookie, form_token = _browser(town, None)
    return Guest(name, cookie=cookie, form_token=form_token, bearer=raw)


def random_id() -> str:
    """An id that nothing has."""
    return str(uuid.uuid4())
