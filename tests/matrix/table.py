"""The one table written by hand: what cannot be derived from the rules, the views' permissions and the roles.

A rule with an argument needs a line in EXAMPLES, a public one a line in PUBLIC. Everything else has an answer already; the
other tables hold the exceptions, each with its reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.billing.giving_models import MoneyGiven
from app.billing.ledger.models import Book, Entry
from app.billing.models import PricePlan, Receipt, Stop, SupplyAccount
from app.kernel.db import Base
from app.meters.models import Gateway, Meter, ReadingCase
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from app.permissions.approval_models import Approval
from app.permissions.factor_models import CounterPc, OidcProvider, UserFactor
from app.permissions.models import ApiToken, Grant, OwnRole, User, UserSession
from app.tenants.models import AuditRecord, Party, Space
from tests.factories.world import World

#: Whose a thing is: a place's, the whole tenant's, or the person's who is signed in.
OF_PLACE, OF_TENANT, OF_PERSON, OF_NOBODY = "place", "tenant", "person", "nobody"
Find = Callable[[Session, World, int], Any]
NO_UUID, NO_NUMBER = "00000000-0000-7000-8000-000000000000", "99999999"


@dataclass(frozen=True)
class Example:
    """Where an argument gets its value from: the thing's own, and one that nothing has."""

    find: Find
    of: str = OF_PLACE
    missing: str = NO_UUID


def at(column: InstrumentedAttribute[Any], *, by: str = "property_id", missing: str = NO_UUID) -> Example:
    """The first row of the property, by `property_id` or `node_id`."""

    def find(session: Session, world: World, _user_id: int) -> Any:
        where = getattr(column.class_, by) == world.property_id
        return session.scalars(select(column).where(where).order_by(column.class_.id).limit(1)).first()

    return Example(find, missing=missing)


def row_in(table: str) -> Example:
    """As `at`, for a table by its name."""

    def find(session: Session, world: World, _user_id: int) -> Any:
        found = Base.metadata.tables[table]
        here = (found.c.tenant_id == world.tenant_id) & (found.c.property_id == world.property_id)
        return session.scalars(select(found.c.public_id).where(here).order_by(found.c.id).limit(1)).first()

    return Example(find)


def tenants(column: InstrumentedAttribute[Any], *, missing: str = NO_UUID) -> Example:
    """The first row of the tenant."""
    return Example(lambda session, _w, _u: session.scalars(select(column).order_by(column).limit(1)).first(),
                   of=OF_TENANT, missing=missing)  # fmt: skip


def fixed(value: str, *, missing: str) -> Example:
    """A word of the product's own, the same in every tenant."""
    return Example(lambda _s, _w, _u: value, of=OF_NOBODY, missing=missing)


def persons(column: InstrumentedAttribute[Any]) -> Example:
    """A row of the person who asks; for other places, of somebody there."""

    def find(session: Session, world: World, user_id: int) -> Any:
        whose = user_id or session.scalars(_people_of(world).order_by(User.id).limit(1)).first()
        return session.scalars(select(column).where(column.class_.user_id == whose).limit(1)).first()

    return Example(find, of=OF_PERSON)


def _people_of(world: World) -> Any:
    return select(User.id).where(User.id.in_(select(Grant.user_id).where(Grant.node_id == world.property_id)))


def _person(session: Session, world: World, _user_id: int) -> Any:
    """Somebody of the place who is nobody's guest: the last one made there."""
    newest = select(User.public_id).where(User.id.in_(_people_of(world))).order_by(User.id.desc()).limit(1)
    return session.scalars(newest).first()


def _entry(session: Session, world: World, _user_id: int) -> Any:
    books = select(Book.id).where(Book.property_id == world.property_id)
    return session.scalars(select(Entry.public_id).where(Entry.book_id.in_(books)).order_by(Entry.id).limit(1)).first()


def _version(session: Session, world: World, _user_id: int) -> Any:
    return world.price_version_id


def _price_plan(session: Session, world: World, _user_id: int) -> Any:
    return session.scalars(select(PricePlan.public_id).where(PricePlan.id == world.plan_id)).first()


def _delivery(session: Session, world: World, _user_id: int) -> Any:
    mine = select(WebhookEndpoint.id).where(WebhookEndpoint.node_id == world.property_id)
    wanted = select(WebhookDelivery.public_id).where(WebhookDelivery.endpoint_id.in_(mine)).limit(1)
    return session.scalars(wanted).first()


def _waiting_stop(session: Session, world: World, _user_id: int) -> Any:
    return session.scalars(
        select(Stop.id).where(Stop.property_id == world.property_id, Stop.paid_at.is_not(None))
    ).first()


#: The rule up to and including the argument → an example. `tests/matrix/README` is this line: add yours here.
EXAMPLES: Mapping[str, Example] = {
    "/accounts/<uuid:public_id>": at(SupplyAccount.public_id),
    "/approvals/<uuid:public_id>": at(Approval.public_id, by="node_id"),
    "/audit/<int:id_>": at(AuditRecord.id, missing=NO_NUMBER),
    "/cases/<int:case_id>": at(ReadingCase.id, missing=NO_NUMBER),
    "/collection/<uuid:public_id>": at(SupplyAccount.public_id),
    "/counter/<uuid:public_id>": at(SupplyAccount.public_id),
    "/counter-pcs/<uuid:public_id>": at(CounterPc.public_id),
    "/customers/<uuid:public_id>": at(Party.public_id),
    "/customers/<uuid:public_id>/documents/<kind>": fixed("id_number", missing="no_such_kind"),
    "/customers/<uuid:public_id>/numbers/<kind>": fixed("phone", missing="no_such_kind"),
    "/demo/gateways/<uuid:public_id>": at(Gateway.public_id),
    "/entries/<uuid:public_id>": Example(_entry),
    "/gateways/<uuid:public_id>": at(Gateway.public_id),
    "/limits/<deed>": fixed("reversal", missing="no_such_deed"),
    "/limits/<deed>/<role>": fixed("property_manager", missing="no_such_role"),
    "/emergency/<uuid:public_id>": at(SupplyAccount.public_id),
    "/given/<uuid:public_id>": at(MoneyGiven.public_id),
    "/meters/<uuid:public_id>": at(Meter.public_id),
    "/people/<uuid:public_id>": Example(_person),
    "/permissions/<name>": fixed("meter:meter:read", missing="no:such:name"),
    "/plans/<uuid:public_id>": Example(_price_plan),
    "/plans/<uuid:public_id>/versions/<int:version_id>": Example(_version, missing=NO_NUMBER),
    "/receipts/<uuid:public_id>": at(Receipt.public_id),
    "/roles/<code>": tenants(OwnRole.code, missing="own:none"),
    "/rooms/<uuid:space>": at(Space.public_id),
    "/security/factors/<uuid:public_id>": persons(UserFactor.public_id),
    "/security/sessions/<uuid:public_id>": persons(UserSession.public_id),
    "/security/sso/<uuid:public_id>": tenants(OidcProvider.public_id),
    "/sso-providers/<uuid:public_id>": tenants(OidcProvider.public_id),
    "/stops/<int:stop_id>": Example(_waiting_stop, missing=NO_NUMBER),
    "/tokens/<uuid:public_id>": at(ApiToken.public_id, by="node_id"),
    "/webhooks/<uuid:public_id>": at(WebhookEndpoint.public_id, by="node_id"),
    "/webhooks/deliveries/<uuid:public_id>": Example(_delivery),
}

#: What a form must say to be more than empty, and still do no harm; A_PLACE is the public id of the thing's property.
A_PLACE = "(the property)"
FORMS: Mapping[str, Mapping[str, str]] = {
    "POST /counter-pcs": {"property": A_PLACE},
    "POST /people/<uuid:public_id>/grants": {"at": A_PLACE},
    "POST /people/<uuid:public_id>/grants/withdraw": {"at": A_PLACE, "role": "meter_engineer"},
    "POST /roles/new": {"from": "cashier"},
    "POST /tokens": {"place": A_PLACE},
    "POST /webhooks": {"place": A_PLACE},
}
#: Forms that are taken: what tells "ignored" from "refused for another reason".
GOOD_FORMS: Mapping[str, Mapping[str, str]] = {
    "POST /counter/<uuid:public_id>": {"amount": "50", "channel": "cash", "key": "matrix"},
    "POST /accounts/<uuid:public_id>/supply": {"deed": "restore"},
    "POST /cases/<int:case_id>/settle": {"reason": "现场核对"},
    "POST /plans": {"name": "商业", "price": "0.9", "effective_from": "2026-08-01T00:00"},
    "POST /plans/<uuid:public_id>/versions": {
        "price": "0.57",
        "effective_from": "2026-08-01T00:00",
        "deed": "publish",
        "large": "1",
    },
    "POST /people/new": {"login": "newcomer.matrix", "name": "新同事", "role": "read_only", "at": A_PLACE},
    "POST /people/<uuid:public_id>": {"name": "改名"},
    "POST /roles/new": {"from": "read_only", "name": "看表", "permission": "meter:meter:read"},
    "POST /tokens": {"place": A_PLACE, "name": "抄表系统", "permissions": "reading:import:load", "days": "30"},
    "POST /counter-pcs": {"property": A_PLACE, "name": "一号柜台"},
    "POST /preferences": {"locale": "zh"},
}
#: What an address must say besides.
QUERIES: Mapping[str, str] = {"GET /roles/new": "?from=cashier"}

#: What is public → statuses that everybody is answered with, signed in or not. An empty form throughout.
PUBLIC: Mapping[str, frozenset[int]] = {
    "GET /api/v1/openapi.json": frozenset({200}),
    "GET /healthz": frozenset({200}),
    "GET /home": frozenset({302}),
    "GET /password": frozenset({200}),
    "POST /password": frozenset({200, 422, 429}),
    "GET /password/<token>": frozenset({410}),
    "POST /password/<token>": frozenset({410}),
    "POST /preferences": frozenset({302}),
    "GET /sign-in": frozenset({200, 302}),
    "POST /sign-in": frozenset({401, 429}),
    "GET /sign-in/enrol": frozenset({303}),
    "POST /sign-in/enrol": frozenset({303}),
    "GET /sign-in/factor": frozenset({303}),
    "POST /sign-in/factor": frozenset({303}),
    "POST /sign-in/passkey": frozenset({303}),
    "POST /sign-in/passkey/options": frozenset({200}),
    "GET /sign-in/sso": frozenset({200}),
    "GET /sign-in/sso/<slug>": frozenset({303}),
    "GET /sign-in/sso/<slug>/back": frozenset({303}),
    "POST /sign-out": frozenset({302}),
    "GET /static/<path:filename>": frozenset({200}),
    "GET /switch": frozenset({303}),
    "POST /switch/<uuid:person>": frozenset({303}),
    "POST /switch/leave": frozenset({303}),
    "POST /webhooks/sms": frozenset({401}),
}
#: Values of arguments on public rules.
PUBLIC_ARGUMENTS: Mapping[str, str] = {
    "token": "no-such-link",
    "filename": "app.css",
    "slug": "no-such-provider",
    "person": NO_UUID,
}

#: Machines → (without a token, with one that may do nothing, with one that may), for an empty body.
MACHINES: Mapping[str, tuple[int, int, int]] = {"POST /api/v1/readings": (401, 403, 422)}

#: Reads that answer a holder otherwise than with 200.
OTHER_THAN_200: Mapping[str, frozenset[int]] = {
    "GET /security/totp": frozenset({303}),  # nothing was begun
}
#: Things of which a holder sees only some, and why: then "not there" is right for their own place as well.
SEEN_BY_SOME: Mapping[str, str] = {
    "GET /approvals/<uuid:public_id>": "a request is shown to who asked for it and to who may decide on it",
    "POST /approvals/<uuid:public_id>/approve": "as above",
    "POST /approvals/<uuid:public_id>/refuse": "as above",
    "POST /approvals/<uuid:public_id>/withdraw": "as above",
    "GET /collection/<uuid:public_id>": "a steward sees only the accounts of the buildings given to them",
    "POST /collection/<uuid:public_id>": "as above; and who unmasks numbers need not see the call list",
    "POST /collection/<uuid:public_id>/phone": "as above",
    "POST /security/sso/<uuid:public_id>/unbind": "nobody has bound a sign-in of the provider",
    "POST /demo/clock": "the demo's clock is there only while demo groups are alone, and other tests make real ones",
    "POST /demo/gateways/<uuid:public_id>": "as above",
    "POST /customers/<uuid:public_id>/phone": "who may not look at customers unmasks on the list of calls only",
    "POST /customers/<uuid:public_id>/documents/<kind>": "as above",
}
#: Pages of headquarters: how they answer a holder who holds the deed at one property only.
HEADQUARTERS_PAGES: Mapping[str, frozenset[int]] = {
    "GET /keys": frozenset({403}),
    "POST /keys/rotate": frozenset({403}),
}
