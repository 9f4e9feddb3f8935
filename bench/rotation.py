"""Changing a group's data key under people who read: fields a second, and the p95 of reads, idle and meanwhile.

Method. Parties with phone and ID number, two fields each, --fields in all. Another process
reads: every 10 ms it opens a unit of work, finds a random party by its whole phone number through the blind index, reads its
phone and ID number, and is timed from opening to closing. First for ten seconds with nothing else; then while the key is
changed and every field is written anew in transactions of 500 rows. At the end every field is under the new version.
Repeat: make bench-rotation, or with FIELDS=1000000 for the full size.
"""

import argparse
import multiprocessing
import os
import random
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import psycopg
from sqlalchemy import insert

from app.kernel.actor import Actor
from app.kernel.crypto import DataKey
from app.kernel.db import Database, open_database, uuid7
from app.kernel.unit_of_work import unit_of_work
from app.tenants.keys import data_key, place
from app.tenants.models import Party
from app.tenants.parties import find_parties, phone_of
from app.tenants.rotation import begin_rotation, continue_rotation, key_uses
from bench.stage import at_most, fresh_database, rounded, said
from tests.factories.world import World, build_world

BENCH = Actor.system("bench")
IDLE_S = 10
PAUSE_S = 0.010
CHUNK = 5_000
LIMIT = 2


def phone(number: int) -> str:
    """The phone of the n-th party."""
    return f"+86139{number:08d}"


def fill(db: Database, world: World, parties: int) -> None:
    """So many parties with a phone and an ID number, under the group's first key."""
    for start in range(0, parties, CHUNK):
        with unit_of_work(world.tenant_id, db=db) as session:
            key = data_key(session)
            rows = [_row(key, world, number) for number in range(start, min(start + CHUNK, parties))]
            session.execute(insert(Party), rows)


def _row(key: DataKey, world: World, number: int) -> dict[str, object]:
    public_id, document = uuid7(), f"11010119900101{number % 10_000:04d}"
    where = {kind: place(table="parties", column=kind, row=public_id) for kind in ("phone", "id_number")}
    return {
        "public_id": public_id,
        "property_id": world.property_id,
        "name": f"住户{number}",
        "phone_cipher": key.encrypt(phone(number), where["phone"]),
        "phone_blind": key.blind("phone", phone(number)),
        "phone_last4_blind": key.blind("phone_last4", phone(number)[-4:]),
        "id_number_cipher": key.encrypt(document, where["id_number"]),
        "id_number_blind": key.blind("id_number", document),
    }


def read(url: str, world: World, parties: int, ready: Event, over: Event, told: Connection) -> None:
    """Read random people until told to stop; send back how long each took, in milliseconds, and how many failed."""
    db, took, failed, chance = open_database(url), list[float](), 0, random.Random(7)
    while not over.is_set():
        number, began = chance.randrange(parties), time.perf_counter()
        try:
            with unit_of_work(world.tenant_id, db=db) as session:
                (party,) = find_parties(session, text=phone(number), allowed=[world.property_id])
                assert phone_of(session, party=party) == phone(number)
        except Exception:
            failed += 1
        took.append((time.perf_counter() - began) * 1000)
        ready.set()
        time.sleep(PAUSE_S)
    told.send((took[1:], failed))


class Reader:
    """A process that reads while its block runs, and then knows what it saw."""

    p95_ms, reads, failed = 0.0, 0, 0

    def __init__(self, world: World, parties: int) -> None:
        new = multiprocessing.get_context("spawn")
        self._ready, self._over = new.Event(), new.Event()
        self._here, there = new.Pipe(duplex=False)
        url = os.environ["DATABASE_URL"]
        self._process = new.Process(target=read, args=(url, world, parties, self._ready, self._over, there))

    def __enter__(self) -> "Reader":
        self._process.start()
        self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        took, self.failed = self._here.recv()
        self._process.join()
        self.p95_ms, self.reads = sorted(took)[int(len(took) * 0.95)], len(took)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=int(os.environ.get("FIELDS") or 100_000))
    parties = parser.parse_args().fields // 2
    with fresh_database("tallyhouse_bench_rotation") as db:
        world = build_world(db, spaces=1)
        fill(db, world, parties)
        _look_at_the_table()
        idle = _idle(world, parties)
        with Reader(world, parties) as meanwhile:
            rotate(db, world)
        with unit_of_work(world.tenant_id, db=db) as session:
            assert {use.version for use in key_uses(session)} == {2}
        said("rotation_reads_idle_p95", rounded(idle.p95_ms), "ms")
        said("rotation_reads_meanwhile_p95", rounded(meanwhile.p95_ms), "ms")
        said("rotation_reads_meanwhile", meanwhile.reads, "reads")
        at_most("rotation_reads_slower", rounded(meanwhile.p95_ms / idle.p95_ms), "times", LIMIT)
        at_most("rotation_reads_failed", idle.failed + meanwhile.failed, "reads", 0)


def _idle(world: World, parties: int) -> "Reader":
    with Reader(world, parties) as idle:
        time.sleep(IDLE_S)
    return idle


def _look_at_the_table() -> None:
    """Statistics, as a table of this size has had for long."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("ANALYZE parties")


def rotate(db: Database, world: World) -> None:
    """Change the key and write every field anew, and print the pace."""
    with unit_of_work(world.tenant_id, db=db) as session:
        begin_rotation(session, by=BENCH)
    began = time.perf_counter()
    done = continue_rotation(world.tenant_id, by=BENCH, db=db)
    assert done is not None
    said("rotation_fields", done.written, "fields")
    said("rotation_pace", rounded(done.written / (time.perf_counter() - began), 0), "fields/s")


if __name__ == "__main__":
    main()
