"""Refusals of the console that no rule below it can give."""

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.kernel.db import run_sql
from app.kernel.errors import Invalid
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.web.console import demo
from tests.factories.world import World


@pytest.mark.parametrize("control", ["", "127.0.0.1:", "nowhere"])
def test_a_street_that_does_not_answer_is_named_with_its_cure(make_app: Callable[..., Flask], control: str) -> None:
    with make_app(STREET_CONTROL=control).test_request_context(), pytest.raises(demo.StreetAbsent) as absent:
        demo.switch("GW-HF-A", offline=True)
    assert "make run" in absent.value.message("zh")
    assert absent.value.status == 503


_MEETS = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{}'; END $$"


@pytest.mark.parametrize("state", ["40P01", "40001"])
@pytest.mark.parametrize("bare", [False, True], ids=["by the session", "word for word"])
@pytest.mark.parametrize(("spoken", "said"), [("zh", "再提交一次"), ("en", "submit again")])
def test_a_transaction_that_gave_way_asks_for_another_try(
    make_app: Callable[..., Flask], world: World, state: str, bare: bool, spoken: str, said: str
) -> None:
    app, sql = make_app(), _MEETS.format(state)
    with app.test_request_context("/api/readings", headers={"Cookie": f"locale={spoken}"}):
        with (
            pytest.raises((OperationalError, psycopg.OperationalError)) as met,
            unit_of_work(world.tenant_id) as session,
        ):
            run_sql(session, sql, {}) if bare else session.execute(text(sql))
        answer = app.make_response(app.handle_user_exception(met.value))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.get_json()["error"]["code"] == "busy_try_again"
    assert said in answer.get_json()["error"]["message"]


def test_a_way_of_paying_the_counter_does_not_know_is_invalid(visit: Callable[..., Any], world: World) -> None:
    visitor = visit(world, Role.CASHIER)
    account = re.search("/accounts/([0-9a-f-]{36})", visitor.text("/accounts"))
    assert account
    answer = visitor.post(f"/counter/{account[1]}", {"amount": "50", "channel": "gold", "key": "k-1"})
    assert answer.status_code == Invalid.status
    assert "请选择现金、银行转账或刷卡" in answer.get_data(as_text=True)
