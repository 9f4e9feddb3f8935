"""S20: people's numbers are nowhere in clear: not in a dump, the write-ahead log, Redis, files or logs.

A thousand people (ten thousand in `make test-long`) carry numbers of a kind that nothing else in the suite uses. They go
through what a day brings: import, search, messages, unmasking, changes, sign-in attempts, a failing page. Then every
place is searched for any number of that kind, as text and as the hexadecimal that dumps write bytes in.
"""

import io
import logging
import os
import re
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import select, text, update
from sqlalchemy.engine import make_url
from werkzeug.datastructures import FileStorage

from app.billing.plans import create_plan
from app.kernel.crypto import CipherBroken
from app.kernel.db import Database
from app.kernel.logs import LineFormatter
from app.kernel.unit_of_work import unit_of_work
from app.notify import sender
from app.notify.fake_sms import FakeSmsServer
from app.notify.service import queue_notice
from app.notify.sms import HttpSms
from app.permissions.policy import Role
from app.tenants.keys import data_key
from app.tenants.models import Party
from app.tenants.parties import draft_party, phone_of
from app.tenants.personal_data import Personal, number_of, put_bank_account
from tests.factories.workbook import good_rows, workbook
from tests.factories.world import World, add_property
from tests.plugins.tiers import is_long
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
PEOPLE = 10_000 if is_long() else 1_000
CHUNK = 2_000
_SEEDED = rb"1990421\d{4}|3301021970\d{7}[\dXx]|62220499\d{11}"
#: The same as bytes look in a dump: two hexadecimal digits each.
_SEEDED_HEX = rb"31393930343231(?:3\d){4}|33333031303231393730(?:3\d){7}(?:3\d|[57]8)|3632323230343939(?:3\d){11}"
NUMBERS = re.compile(_SEEDED + rb"|" + _SEEDED_HEX, re.IGNORECASE)
#: A number like the seeded ones that none of them is.
PLANTED = "19904989898"
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def phone(n: int) -> str:
    return f"1990421{n:04d}"


def document(n: int) -> str:
    born = date(1970, 1, 1) + timedelta(days=n // 900)
    body = f"330102{born:%Y%m%d}{n % 900 + 100}"
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, WEIGHTS, strict=True)) % 11]


def account(n: int) -> str:
    return f"62220499{n:011d}"


def seed(db: Database, world: World) -> list[str]:
    """So many people with all three numbers; returns their public ids."""
    made = []
    for start in range(0, PEOPLE, CHUNK):
        with unit_of_work(world.tenant_id, db=db) as session:
            key = data_key(session)
            for n in range(start, min(start + CHUNK, PEOPLE)):
                party = draft_party(
                    key, property_id=world.property_id, name=f"住户{n}", kind="person", phone=phone(n),
                    id_number=document(n),
                )  # fmt: skip
                put_bank_account(key, party, account(n))
                session.add(party)
                made.append(str(party.public_id))
    return made


@pytest.fixture
def provider() -> Iterator[FakeSmsServer]:
    """Somebody who takes messages."""
    secret = "a secret of the provider and ours"
    server = FakeSmsServer(("127.0.0.1", 0), secret=secret, report_url="")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    http = HttpSms(f"http://127.0.0.1:{server.server_address[1]}", secret)
    sender.use_provider(http)
    yield server
    sender.use_provider(None)
    http.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The product's log as it is written, down to the last detail."""
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter())
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(before)


def a_day(visit: Visit, world: World, db: Database, people: list[str]) -> None:
    """What happens to numbers in a day, right and wrong."""
    visitor = visit(world)
    for n, words in enumerate((phone(1), phone(2)[-4:], document(3), "0421")):
        for address in ("/customers", "/search"):
            assert visitor.get(address, query_string={"q": words}).status_code in (200, 302), n
    one = f"/customers/{people[0]}"
    for path in ("phone", "documents/id_number", "documents/bank_account"):
        assert visitor.post(f"{one}/{path}", {"reason": "上门核对"}, token_from=one).status_code == 200
    visitor.post(one, {"phone": phone(5), "id_number": document(6), "bank_account": account(7)}, token_from=one)
    visitor.post(one, {"phone": phone(5) + "9", "id_number": document(6)[:-1]}, token_from=one)
    visitor.post(f"{one}/export", {"reason": "本人到场申请"}, token_from=one)
    visitor.client.get(f"/customers/{phone(8)}")
    stranger = Visitor(visitor.client.application.test_client())
    stranger.post("/sign-in", {"login": phone(9), "password": document(9)}, token_from="/sign-in")
    import_people(visit, world, db)
    send_messages(world, db)


def import_people(visit: Visit, world: World, db: Database) -> None:
    """A workbook with numbers: looked at, which keeps it for an hour, taken, and taken in a form that is refused."""
    with unit_of_work(world.tenant_id, db=db) as session:
        elsewhere = add_property(session, world, name="翠湖天地")
        create_plan(session, property_id=elsewhere, name="居民合表")
    rows, visitor = good_rows(3), visit(world, Role.PROPERTY_MANAGER, at=elsewhere)
    for n, row in enumerate(rows["parties"]):
        row |= {"phone": phone(20 + n), "id_number": document(20 + n)}
    good = workbook(rows)
    rows["parties"][0] |= {"phone": phone(30)[:-1], "id_number": document(30)[:-1] + "Y"}
    for content, words in ((good, "可以导入"), (workbook(rows), document(30)[:-1] + "Y")):
        form = {"deed": "check", "file": FileStorage(io.BytesIO(content), filename="people.xlsx")}
        assert words in visitor.post("/onboarding", form).get_data(as_text=True)
    form = {"deed": "commit", "file": FileStorage(io.BytesIO(good), filename="people.xlsx")}
    assert "已导入 people.xlsx" in visitor.post("/onboarding", form).get_data(as_text=True)


def send_messages(world: World, db: Database) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        party = session.scalars(select(Party).where(Party.phone_cipher.is_not(None)).limit(1)).one()
        queue_notice(
            session, kind="zero", property_id=world.property_id, party_id=party.id, message_key="s20",
            subject=f"supply_account:{world.supply_account_ids[0]}",
            params={"episode": 1, "account_number": "1", "available_fen": -1, "overdraft_fen": 2_000},
        )  # fmt: skip
    assert sender.send_waiting(world.tenant_id) == 1


def test_nothing_of_a_thousand_people_is_anywhere_in_clear(
    visit: Visit, world: World, db: Database, provider: FakeSmsServer, log: io.StringIO, tmp_path: Path,
    database_urls: tuple[str, str],
) -> None:  # fmt: skip
    people = seed(db, world)
    a_day(visit, world, db, people)
    assert NUMBERS.fullmatch(provider_saw(provider).removeprefix("+86").encode())  # who sends must know
    found = everywhere(database_urls[1], log, tmp_path)
    assert {place: NUMBERS.search(bytes_) for place, bytes_ in found.items()} == dict.fromkeys(found)
    assert all(one.encode() in found.get("dump", one.encode()) for one in (people[0], people[-1]))


def test_the_search_would_find_what_it_looks_for(
    world: World, db: Database, log: io.StringIO, tmp_path: Path, database_urls: tuple[str, str]
) -> None:
    """Each place with one number put there on purpose, of another kind each, so that nothing is left to be found later."""
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Party).where(Party.id == world.party_ids[0]).values(name=PLANTED))
        session.execute(update(Party).where(Party.id == world.party_ids[1]).values(phone_blind=PLANTED.encode()))
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "leak").write_text(PLANTED)
    logging.getLogger("leak").warning("planted %s", PLANTED.replace("8", "8 "))
    connection = redis.Redis.from_url(os.environ["REDIS_URL"])
    connection.hset(f"leak:{world.tenant_id}", "data", zlib.compress(PLANTED.encode()))
    found = everywhere(database_urls[1], log, tmp_path)
    connection.delete(f"leak:{world.tenant_id}")
    assert PLANTED.replace("8", "8 ").encode() in found.pop("log")
    assert {place for place, bytes_ in found.items() if PLANTED.encode() in bytes_} == set(found)
    assert "dump" not in found or PLANTED.encode().hex().encode() in found["dump"]
    for sample in (phone(3), document(4), account(4)):
        assert NUMBERS.fullmatch(sample.encode())
        assert NUMBERS.fullmatch(sample.encode().hex().encode())


def everywhere(owner_url: str, log: io.StringIO, folder: Path) -> dict[str, bytes]:
    """Every place where something could be left lying."""
    files = [path.read_bytes() for path in (folder / "var").rglob("*") if path.is_file()]
    return {
        "log": log.getvalue().encode(),
        "files": b"".join(files),
        "redis": b"".join(everything_in_redis()),
        **dumped(owner_url, folder),
    }


def provider_saw(provider: FakeSmsServer) -> str:
    """The number of the last message that went out."""
    (message,) = provider.phones.messages.values()
    return str(message["to"])


def everything_in_redis() -> Iterator[bytes]:
    """Every key and value; what jobs keep compressed is opened."""
    connection = redis.Redis.from_url(os.environ["REDIS_URL"])
    readers: dict[bytes, Callable[[bytes], Iterable[Any]]] = {
        b"string": lambda key: [connection.get(key)],
        b"hash": lambda key: chain.from_iterable(connection.hgetall(key).items()),
        b"list": lambda key: connection.lrange(key, 0, -1),
        b"set": connection.smembers,
        b"zset": lambda key: connection.zrange(key, 0, -1),
    }
    for key in connection.scan_iter(count=1000):
        yield key
        for value in readers.get(connection.type(key), nothing)(key):
            yield from opened(value or b"")
    connection.close()


def nothing(_key: bytes) -> Iterable[bytes]:
    """A key that ended while we looked."""
    return ()


def opened(value: bytes) -> Iterator[bytes]:
    yield value
    with suppress(zlib.error):
        yield zlib.decompress(value)


def dumped(owner_url: str, folder: Path) -> dict[str, bytes]:
    """The database as a backup holds it and as the write-ahead log does; nothing on a server of somebody else's."""
    superuser = os.environ.get("DATABASE_SUPERUSER_URL")
    if not superuser:
        return {}
    url = make_url(superuser).set(drivername="postgresql", database=make_url(owner_url).database)
    plain_url = url.render_as_string(hide_password=False)
    with psycopg.connect(plain_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT (SELECT setting FROM pg_config WHERE name = 'BINDIR'), current_setting('data_directory')"
        ).fetchone()
        assert found is not None
        connection.execute("CHECKPOINT")
    binaries, data = Path(found[0]), Path(found[1])
    dump = folder / "dump.sql"
    subprocess.run([binaries / "pg_dump", "--file", dump, plain_url], check=True, capture_output=True, timeout=300)
    return {"dump": dump.read_bytes(), "wal": b"".join(segments_of(data))}


def segments_of(data: Path) -> Iterator[bytes]:
    """What the write-ahead log holds now; a segment may go while we look."""
    for path in (data / "pg_wal").glob("0*"):
        with suppress(FileNotFoundError):
            yield path.read_bytes()


def test_a_ciphertext_opens_nowhere_but_at_its_place(make_world: Callable[..., World], db: Database) -> None:
    here, there = make_world(spaces=1), make_world(spaces=1)
    for world in (here, there):
        with unit_of_work(world.tenant_id, db=db) as session:
            key = data_key(session)
            session.add_all(
                draft_party(
                    key, property_id=world.property_id, name=f"{n}", kind="person", phone=phone(n), id_number=None
                )
                for n in range(2)
            )
    with unit_of_work(here.tenant_id, db=db) as session:
        first, second = session.scalars(select(Party).where(Party.phone_cipher.is_not(None)).order_by(Party.id)).all()
        cipher = first.phone_cipher
        second.phone_cipher, second.id_number_cipher = cipher, cipher
        session.flush()
        for kind in (Personal.PHONE, Personal.ID_NUMBER):  # another row, another column
            with pytest.raises(CipherBroken):
                number_of(session, party=second, kind=kind)
        assert phone_of(session, party=first) == f"+86{phone(0)}"
        same_row = first.public_id
    with unit_of_work(there.tenant_id, db=db) as session:  # another tenant, even with the same public id
        guest = session.scalars(select(Party).where(Party.phone_cipher.is_not(None)).limit(1)).one()
        session.execute(update(Party).where(Party.id == guest.id).values(phone_cipher=cipher, public_id=same_row))
        session.expire(guest)
        with pytest.raises(CipherBroken) as refused:
            number_of(session, party=guest, kind=Personal.PHONE)
        assert "parties.phone" in refused.value.message("zh")
        assert session.scalar(text("SELECT count(*) FROM parties WHERE tenant_id <> :t"), {"t": there.tenant_id}) == 0
