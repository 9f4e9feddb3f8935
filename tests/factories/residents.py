"""Residents: a property whose page is open, a party with a phone, a phone that is signed in."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.jobs.handlers import drain
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.notify.sender import use_provider
from app.notify.sms import HttpSms, Sms
from app.permissions.residents import ResidentPlace, begin_session, homes_of, open_page, place_of_page
from app.tenants.models import Node, Party, PartyRole
from app.tenants.personal_data import change_phone
from tests.factories.world import World

SEEDER = Actor.system("tests")
PHONE = "13800138000"


def open_residents(db: Database, world: World) -> uuid.UUID:
    """Open the page of the world's property; its public id, as the address says it."""
    with unit_of_work(world.tenant_id, db=db) as session:
        open_page(session, property_id=world.property_id, by=SEEDER, allowed=[world.property_id])
        return session.scalars(select(Node.public_id).where(Node.id == world.property_id)).one()


def give_phone(db: Database, world: World, number: int = 0, *, phone: str = PHONE) -> None:
    """A phone for the party of one of the world's spaces."""
    with unit_of_work(world.tenant_id, db=db) as session:
        party = session.scalars(select(Party).where(Party.id == world.party_ids[number])).one()
        change_phone(session, party=party, phone=phone)


def end_roles(db: Database, world: World, number: int = 0, *, on: date) -> None:
    """The party moves out."""
    with unit_of_work(world.tenant_id, db=db) as session:
        for role in session.scalars(select(PartyRole).where(PartyRole.party_id == world.party_ids[number])):
            role.ended_on = on


def place_of(db: Database, world: World) -> ResidentPlace:
    """The property as residents' deeds take it."""
    public_id = open_residents(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        return place_of_page(session, public_id=public_id)


def resident_token(db: Database, world: World, number: int = 0, *, phone: str | None = PHONE) -> str:
    """A session of the resident of one of the world's spaces: the cookie's token. With None the party keeps its phone."""
    if phone is not None:
        give_phone(db, world, number, phone=phone)
    place = place_of(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        party = session.scalars(select(Party).where(Party.id == world.party_ids[number])).one()
        homes = homes_of(session, place=place, phone_digests=[party.phone_blind or b""])
        return begin_session(session, place=place, homes=homes, address="127.0.0.1")


def resident_client(
    app: Flask, db: Database, world: World, number: int = 0, *, phone: str | None = PHONE
) -> FlaskClient:
    """A phone's browser, signed in as the resident of one of the world's spaces."""
    client = app.test_client()
    name = "__Host-resident" if app.config["TLS"] else "resident"
    client.set_cookie(name, resident_token(db, world, number, phone=phone))
    return client


class Phones(HttpSms):
    """An SMS provider that keeps what it was given."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.sent: list[Sms] = []

    def send(self, sms: Sms) -> str:
        """Take a message, or be away."""
        if self.failure is not None:
            raise self.failure
        self.sent.append(sms)
        return f"m-{len(self.sent)}"

    def close(self) -> None:
        """Nothing is open."""

    @property
    def digits(self) -> str:
        """The code in the newest message."""
        found = re.search(r"\d{6}", self.sent[-1].text)
        assert found
        return found[0]


@contextmanager
def phones(failure: Exception | None = None) -> Iterator[Phones]:
    """Whatever is sent meanwhile arrives here."""
    provider = Phones(failure)
    use_provider(provider)
    try:
        yield provider
    finally:
        use_provider(None)


def deliver_codes(world: World) -> None:
    """The worker sends what residents asked for."""
    drain(world.tenant_id, "resident_codes")
