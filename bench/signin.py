"""Sign-ins per second, and what a flood of them costs everybody else.

Method. The product's own web process (gunicorn, one worker, eight threads) on a loopback port, behind one pretended
proxy, so that every request may come from an address of its own: nobody is slowed by the delay per address, which would
make the flood cheap. First, four browsers sign people in with their right passwords as fast as they are answered, for
10 seconds. Then, for 20 seconds, a hundred sign-ins a second are sent on time whatever becomes of them, half with the
names of real people and half with made-up ones, all with wrong passwords, while a signed-in person asks for the room wall
ten times a second: the 95th percentile of those answers counts. Told beside it: the same page without a flood, and how
many sign-ins of the flood were looked at. Repeat: make bench-signin
"""

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.permissions.service import create_user, grant_role
from bench.stage import at_least, at_most, fresh_database, rounded, said
from tests.factories.world import World, build_world

PASSWORD = "correct horse 7 staple"
PEOPLE, BROWSERS = 40, 4
SIGN_IN_S, FLOOD_S = 10, 20
FLOOD_PER_S, PAGES_PER_S, SENDERS = 100, 10, 64
READY_S_MAX, ANSWER_S_MAX = 30, 30
#: The page that others ask for meanwhile.
PAGE = "/rooms"


@dataclass
class Browser:
    """One keep-alive connection with its cookies; every sign-in comes from an address of its own."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""
    form_cookies: dict[str, str] = field(default_factory=dict)
    link: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, form: Mapping[str, str] | None = None, address: str = "192.0.2.1") -> int:
        """Send one request; returns the status. The body is read, the cookies are kept."""
        body = urlencode({"csrf_token": self.token, **form}) if form is not None else None
        headers = {"X-Forwarded-For": address, "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self.link is None:
            self.link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S_MAX)
        try:
            self.link.request(method, path, body, headers)
            answer = self.link.getresponse()
            page = answer.read().decode()
        except OSError:
            self.close()
            return 0
        for line in answer.headers.get_all("Set-Cookie") or ():
            name, _equals, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        if method == "GET" and (found := re.search(r'name="csrf_token" value="([^"]+)"', page)):
            self.token, self.form_cookies = found[1], dict(self.cookies)
        return answer.status

    def close(self) -> None:
        """Let the connection go."""
        if self.link is not None:
            self.link.close()
            self.link = None

    def sign_in(self, login: str, password: str, address: str) -> int:
        """A sign-in with the form seen last, as a stranger: what an earlier one opened is forgotten first."""
        self.cookies = dict(self.form_cookies)
        return self.ask("POST", "/sign-in", {"login": login, "password": password}, address)


def people(world: World) -> list[str]:
    """Sign-in names of cashiers."""
    by, names = Actor.system("bench"), [f"bench-{number}" for number in range(PEOPLE)]
    with unit_of_work(world.tenant_id) as session:
        for name in names:
            user = create_user(session, login=name, name="陈静怡", password=PASSWORD, by=by)
            session.flush()
            grant_role(session, user=user, role=Role.CASHIER, node_id=world.property_id, by=by)
    return names


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def served(folder: str) -> Iterator[int]:
    """The product's web process; yields its port."""
    port = free_port()
    env = os.environ | {
        "WEB_HOST": "127.0.0.1", "WEB_PORT": str(port), "WEB_WORKERS": "1", "WEB_THREADS": "8", "TRUSTED_PROXIES": "1",
        "SECRET_KEY": "bench" * 8, "VAR_DIR": folder, "CLOCK_FILE": "",
    }  # fmt: skip
    with Path(folder, "web.log").open("wb") as log:
        argv = [str(Path(sys.executable).parent / "tallyhouse"), "web"]
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        try:
            wait_for(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    """Until the web process answers. Raises TimeoutError."""
    until = time.monotonic() + READY_S_MAX
    with closing(Browser(port)) as browser:
        while browser.ask("GET", "/healthz") != 200:
            if time.monotonic() > until:
                raise TimeoutError("the web process does not answer")
            time.sleep(0.1)


def sign_in_for(port: int, names: list[str], number: int, until: float) -> tuple[int, Counter[int]]:
    """(sign-ins, other answers) of one browser."""
    browser, done, others = Browser(port), 0, Counter[int]()
    browser.ask("GET", "/sign-in")
    mine = names[number::BROWSERS]
    while time.monotonic() < until:
        status = browser.sign_in(mine[done % len(mine)], PASSWORD, f"198.51.100.{number + 1}")
        if status == 302:
            done += 1
        else:
            others[status] += 1
    browser.close()
    return done, others


def sign_ins_per_s(port: int, names: list[str]) -> Decimal:
    """How many people a web process lets in, each with a right password."""
    until = time.monotonic() + SIGN_IN_S
    with ThreadPoolExecutor(BROWSERS) as pool:
        done = list(pool.map(lambda number: sign_in_for(port, names, number, until), range(BROWSERS)))
    refused = sum((others for _count, others in done), Counter[int]())
    assert not refused, refused
    return Decimal(sum(count for count, _others in done)) / SIGN_IN_S


def flood(port: int, names: list[str], answers: Counter[int]) -> None:
    """A hundred wrong sign-ins a second, on time."""
    local, lock, began, opened = threading.local(), threading.Lock(), time.monotonic(), list[Browser]()

    def send(number: int) -> None:
        late = began + number / FLOOD_PER_S - time.monotonic()
        if late > 0:
            time.sleep(late)
        browser = getattr(local, "browser", None)
        if browser is None:
            browser = local.browser = Browser(port)
            opened.append(browser)
            browser.ask("GET", "/sign-in")
        login = names[number % len(names)] if number % 2 else f"nobody-{number}"
        status = browser.sign_in(login, f"wrong {number}", f"203.0.{number // 250}.{number % 250 + 1}")
        with lock:
            answers[status] += 1

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(FLOOD_PER_S * FLOOD_S)))
    for browser in opened:
        browser.close()


def ask_pages(browser: Browser, seconds: int) -> list[int]:
    """Milliseconds of a page asked for ten times a second, counted from when it should have been asked for."""
    began, times = time.monotonic(), []
    for number in range(seconds * PAGES_PER_S):
        due = began + number / PAGES_PER_S
        time.sleep(max(0, due - time.monotonic()))
        sent = min(due, time.monotonic())
        status = browser.ask("GET", PAGE)
        assert status == 200, status
        times.append(round((time.monotonic() - sent) * 1000))
    return sorted(times)


def p95(times: list[int]) -> int:
    """The 95th percentile of sorted figures."""
    return times[len(times) * 95 // 100]


def run(db: Database) -> None:
    """Build a group, start the web process, sign in, flood, print the figures."""
    with TemporaryDirectory() as folder:
        world = build_world(db)
        names = people(world)
        with served(folder) as port:
            at_least("sign_ins_per_s", rounded(sign_ins_per_s(port, names)), "sign-ins/s", 15)
            reader = Browser(port)
            reader.ask("GET", "/sign-in")
            assert reader.sign_in(names[0], PASSWORD, "198.51.100.1") == 302
            said("page_p95_in_peace", p95(ask_pages(reader, 5)), "ms")
            answers = Counter[int]()
            flooding = threading.Thread(target=flood, args=(port, names, answers))
            began = time.monotonic()
            flooding.start()
            times = ask_pages(reader, FLOOD_S)
            flooding.join()
            took_s = Decimal(time.monotonic() - began)
            at_least("flood_answered_per_s", rounded(Decimal(sum(answers.values())) / took_s), "sign-ins/s", 90)
            said("flood_looked_at", answers[401], "sign-ins")
            said("flood_told_to_wait", answers[429], "sign-ins")
            said("flood_unanswered", answers[0], "sign-ins")
            reader.close()
            at_most("page_p95_in_a_flood", p95(times), "ms", 500)


if __name__ == "__main__":
    os.environ.setdefault("KEY_ENCRYPTION_KEY", "00" * 32)
    os.environ.setdefault("AUDIT_KEY", "11" * 32)
    with fresh_database("tallyhouse_bench_signin") as opened:
        run(opened)
