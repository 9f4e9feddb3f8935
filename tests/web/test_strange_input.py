"""What no keyboard makes and what only looks like something: refused in words, or taken for what it is."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.datastructures import FileStorage

from app.kernel.db import Database
from app.permissions.policy import Role
from app.web.guards import ControlCharacters
from tests.factories.history import public_id
from tests.factories.world import World
from tests.web.conftest import Visitor

CONTROLS = ["a\x00b", "a\x1bb", "a\x7f"]


@pytest.mark.parametrize("text", CONTROLS)
@pytest.mark.parametrize("field", ["login", "password", "more"])
def test_control_characters_are_refused_before_anybody_signed_in(app: Flask, field: str, text: str) -> None:
    answer = Visitor(app.test_client()).post("/sign-in", {"login": "x", field: text}, token_from="/sign-in")
    assert answer.status_code == 422
    assert "控制字符" in answer.get_data(as_text=True)


@pytest.mark.parametrize("address", ["/plans", "/counter/{account}", "/accounts/{account}/supply", "/onboarding"])
def test_control_characters_are_refused_in_every_form(
    visit: Callable[..., Any], world: World, db: Database, address: str
) -> None:
    account = public_id(db, world)
    form = {"name": "a\x00b", "key": "a\x00b", "reason": "a\x00b", "deed": "stop", "amount": "5", "channel": "cash"}
    visitor = visit(world, Role.CASHIER if "counter" in address else Role.GROUP_ADMINISTRATOR)
    assert visitor.post(address.format(account=account), form).status_code == 422


@pytest.mark.parametrize("words", ["a%00b", "a%1Bb", "a%C2%85"])
def test_control_characters_are_refused_in_addresses(visit: Callable[..., Any], world: World, words: str) -> None:
    visitor = visit(world)
    assert visitor.get(f"/search?q={words}").status_code == 422
    assert visitor.get("/search?q=a%09b").status_code == 200


def test_control_characters_are_refused_in_file_names(visit: Callable[..., Any], world: World) -> None:
    file = FileStorage(io.BytesIO(b"x"), filename="a\x01.xlsx")
    answer = visit(world, Role.PROPERTY_MANAGER).post("/readings/import", {"deed": "check", "file": file})
    assert answer.status_code == 422
    assert ControlCharacters.code == "control_characters"
    assert "控制字符" in answer.get_data(as_text=True)


@pytest.mark.parametrize("digits", ["12345678901", "10000000000"])
def test_eleven_digits_that_are_no_phone_are_searched_as_they_are(
    visit: Callable[..., Any], world: World, digits: str
) -> None:
    assert visit(world).get(f"/search?q={digits}").status_code == 200


@pytest.mark.parametrize(("tls", "secure"), [("1", True), ("", False)])
def test_the_place_is_remembered_as_securely_as_the_session(
    make_app: Callable[..., Flask], tls: str, secure: bool
) -> None:
    answer = make_app(TLS=tls).test_client().get("/sign-in?p=all")
    (cookie,) = [said for said in answer.headers.getlist("Set-Cookie") if said.startswith("property=")]
    assert ("Secure" in cookie) is secure
