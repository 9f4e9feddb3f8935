"""Two groups on one web process, one of them at ten times its limit: what the other feels of it (S23).

Method. The product's own web process (gunicorn, one worker, eight threads) on a loopback port, a limit of 10 requests a
second for a group. A person of group B asks for the room wall five times a second: ten seconds alone, ten while group A
asks for the same page at exactly its limit, ten while it asks ten times as often, on time whatever becomes of it and from
a process of its own; and round again until each lasted SECONDS (60), so that what else the machine does falls on all three.
Figures: B's 95th percentile in each, its ratio between A at ten times and A at its limit, the share of A's flood that was
answered 429, and refusals without Retry-After. Repeat: make bench-limits, SECONDS=300 for the full size
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from tempfile import TemporaryDirectory

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.permissions.service import create_user, grant_role
from bench.signin import PAGE, PASSWORD, Browser, served
from bench.stage import at_least, at_most, fresh_database, rounded, said
from tests.factories.world import World, build_world, unique

LIMIT_PER_S, TIMES, PAGES_PER_S, SENDERS, ROUND_S = 10, 10, 5, 24, 10
SECONDS = int(os.environ.get("SECONDS", "60"))


def main(db: Database) -> None:
    """Build both groups, ask, print the figures."""
    loud, quiet = build_world(db, spaces=40), build_world(db, spaces=40)
    os.environ["LIMIT_TENANT"] = f"{LIMIT_PER_S}/second"
    with TemporaryDirectory() as folder, served(folder) as port:
        a, b = (signed_in(port, add_person(world)) for world in (loud, quiet))
        ask_pages(b, 5)
        alone, at_limit, flooded, answers = list[int](), list[int](), list[int](), Counter[str]()
        for _round in range(max(1, SECONDS // ROUND_S)):
            alone += ask_pages(b, ROUND_S)
            at_limit += beside(b, port, a, LIMIT_PER_S)[0]
            times, said_to_a = beside(b, port, a, LIMIT_PER_S * TIMES)
            flooded += times
            answers += said_to_a
        said("limits_b_alone_p95", p95(alone), "ms")
        said("limits_b_beside_a_at_limit_p95", p95(at_limit), "ms")
        said("limits_b_beside_flood_p95", p95(flooded), "ms")
        at_most("limits_b_slower", rounded(p95(flooded) / p95(at_limit)), "times", Decimal("1.5"))
        asked = sum(count for status, count in answers.items() if status != "silent")
        at_least("limits_a_refused", rounded(Decimal(answers["429"]) / asked), "share", Decimal("0.85"))
        at_most("limits_refusals_without_retry_after", answers["silent"], "answers", 0)


def add_person(world: World) -> str:
    """A cashier of the group; the sign-in name."""
    by, login = Actor.system("bench"), unique("bench-")
    with unit_of_work(world.tenant_id) as session:
        user = create_user(session, login=login, name="陈静怡", password=PASSWORD, by=by)
        session.flush()
        grant_role(session, user=user, role=Role.CASHIER, node_id=world.property_id, by=by)
    return login


def signed_in(port: int, login: str) -> Browser:
    """A person of one of the groups."""
    browser = Browser(port)
    browser.ask("GET", "/sign-in")
    assert browser.ask("POST", "/sign-in", {"login": login, "password": PASSWORD}) == 302
    return browser


def ask_pages(browser: Browser, seconds: int) -> list[int]:
    """Milliseconds of pages asked for on time."""
    began, times = time.monotonic(), []
    for number in range(seconds * PAGES_PER_S):
        due = began + number / PAGES_PER_S
        time.sleep(max(0, due - time.monotonic()))
        sent = time.monotonic()
        status = browser.ask("GET", PAGE)
        assert status == 200, status
        times.append(round((time.monotonic() - sent) * 1000))
    return times


def beside(browser: Browser, port: int, loud: Browser, per_s: int) -> tuple[list[int], Counter[str]]:
    """B's times while A asks so often, and what A was answered."""
    cookies = "; ".join(f"{name}={value}" for name, value in loud.cookies.items())
    argv = [sys.executable, "-m", "bench.neighbours", "flood", str(port), str(per_s), str(ROUND_S)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(cookies + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "flooding\n"
        times = ask_pages(browser, ROUND_S)
        return times, Counter(json.loads(child.stdout.readline()))


def flood(port: int, per_s: int, seconds: int, cookies: str) -> Counter[str]:
    """Ask on time from many connections; what was answered, and `silent` for refusals that do not say when to return."""
    local, lock, answers, began = threading.local(), threading.Lock(), Counter[str](), time.monotonic()

    def send(number: int) -> None:
        time.sleep(max(0, began + number / per_s - time.monotonic()))
        link = getattr(local, "link", None)
        if link is None:
            link = local.link = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            link.request("GET", PAGE, headers={"Cookie": cookies, "X-Forwarded-For": "192.0.2.77"})
            answer = link.getresponse()
            answer.read()
        except (OSError, HTTPException):
            # The server lets a connection go that was idle for two seconds.
            link.close()
            return send(number)
        with lock:
            answers[str(answer.status)] += 1
            answers["silent"] += answer.status == 429 and not answer.headers.get("Retry-After")

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(per_s * seconds)))
    return answers


def p95(times: list[int]) -> Decimal:
    """The 95th percentile, never nothing."""
    return Decimal(max(1, sorted(times)[len(times) * 95 // 100]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["flood"]:
        held = sys.stdin.readline().strip()
        sys.stdout.write("flooding\n")
        sys.stdout.flush()
        port_, per_s_, seconds_ = (int(text) for text in sys.argv[2:5])
        said_ = flood(port_, per_s_, seconds_, held)
        sys.stdout.write(json.dumps(said_) + "\n")
    else:
        os.environ.setdefault("KEY_ENCRYPTION_KEY", "00" * 32)
        os.environ.setdefault("AUDIT_KEY", "a0" * 32)
        with fresh_database("tallyhouse_bench_limits") as opened:
            main(opened)
