"""Pictures of every page: two widths, two languages, light and dark, into var/screenshots.

python tools/screenshots.py                      seeds a demo in DATABASE_URL, serves it, takes the pictures
python tools/screenshots.py --url http://127.0.0.1:8080 --login admin --password …   a product that runs already
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, sync_playwright

from app.demo.signins import CASHIER, SIGN_INS, password_of
from app.settings import Settings

WIDTHS = {1440: 900, 390: 844}
LOCALES = ("zh", "en")
THEMES = ("light", "dark")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TALLYHOUSE = str(Path(sys.executable).with_name("tallyhouse"))
SETTLE_S = 12


@dataclass(frozen=True, slots=True)
class Shot:
    """A page: its file name, its address, and a selector of a link to follow from there first."""

    name: str
    address: str
    follow: str | None = None


#: What only a cashier opens.
COUNTER_SHOTS = (
    Shot("counter", "/counter"),
    Shot("counter-search", "/search?q=A-01&to=counter"),
    Shot("counter-account", "/search?q=A-01&to=counter", "a.answer"),
)
SHOTS = (
    Shot("today", "/"),
    Shot("wall", "/rooms"),
    Shot("mass", "/rooms/mass"),
    Shot("residents", "/residents"),
    Shot("emergency", "/emergency?q=A-01"),
    Shot("emergency-room", "/emergency?q=A-01", "a.list-group-item"),
    Shot("collection", "/collection"),
    Shot("collection-account", "/collection", "a[href^='/collection/']"),
    Shot("refund", "/accounts", "table tbody a >> nth=0 | a[href$='/refund']"),
    Shot("wall-filtered", "/rooms?state=cut_off"),
    Shot("accounts", "/accounts"),
    Shot("account", "/accounts", "table tbody a"),
    Shot("account-zero", "/accounts?state=zero", "table tbody a"),
    Shot("customers", "/customers"),
    Shot("customer", "/customers", "table tbody a"),
    Shot("unmaskings", "/unmaskings"),
    Shot("statement", "/accounts", "table tbody a >> nth=0 | a[href$='/statement']"),
    Shot("payments", "/payments"),
    Shot("receipt", "/payments", "a[href*='/receipts/']"),
    Shot("deliveries", "/deliveries"),
    Shot("meters", "/meters"),
    Shot("meter", "/meters", "a[href^='/meters/']:not([href*='?'])"),
    Shot("gateway", "/meters", "a[href^='/gateways/']"),
    Shot("readings-import", "/readings/import"),
    Shot("entries", "/entries"),
    Shot("entry", "/entries", "table tbody a"),
    Shot("energy", "/energy"),
    Shot("tokens", "/tokens"),
    Shot("webhooks", "/webhooks"),
    Shot("audit-log", "/audit"),
    Shot("audit-record", "/audit", "table tbody a"),
    Shot("people", "/people"),
    Shot("person", "/people", "table tbody a"),
    Shot("person-new", "/people/new"),
    Shot("roles", "/roles"),
    Shot("role-new", "/roles/new?from=cashier"),
    Shot("permissions", "/permissions"),
    Shot("permission", "/permissions/money:topup:sell"),
    Shot("security-policy", "/security-policy"),
    Shot("approvals", "/approvals"),
    Shot("approval", "/approvals?part=ended", ".work a"),
    Shot("limits", "/limits"),
    Shot("limit", "/limits", "table.limits a"),
    Shot("plans", "/plans"),
    Shot("security", "/security"),
    Shot("plan", "/plans", "table tbody a"),
    Shot("onboarding", "/onboarding"),
    Shot("not-found", "/meters/00000000-0000-7000-8000-000000000000"),
)


def main() -> None:
    """Take the pictures and say where they are."""
    said = _arguments()
    with _served(said.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for width, locale, theme in itertools.product(said.widths, said.locales, said.themes):
            for login, shots in ((said.login, SHOTS), (said.cashier, COUNTER_SHOTS)):
                _one_look(browser, url, said, width, locale, theme, login, shots)
        browser.close()
    print(f"pictures are in {said.folder}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="")
    parser.add_argument("--login", default=SIGN_INS[0].login)
    parser.add_argument("--cashier", default=CASHIER.login, help="who visits the counter")
    parser.add_argument("--password", default="", help="default: the demo's own")
    parser.add_argument("--folder", type=Path, default=Path("var/screenshots"))
    parser.add_argument("--only", default="", help="comma-separated names of pages")
    parser.add_argument("--widths", type=lambda s: [int(x) for x in s.split(",")], default=list(WIDTHS))
    parser.add_argument("--locales", type=lambda s: s.split(","), default=list(LOCALES))
    parser.add_argument("--themes", type=lambda s: s.split(","), default=list(THEMES))
    return parser.parse_args()


def _one_look(
    browser: Browser,
    url: str,
    said: argparse.Namespace,
    width: int,
    locale: str,
    theme: str,
    login: str,
    shots: Sequence[Shot],
) -> None:
    wanted = [shot for shot in shots if not said.only or shot.name in said.only.split(",")]
    if not wanted:
        return
    context = browser.new_context(
        viewport={"width": width, "height": WIDTHS.get(width, 900)}, is_mobile=width < 500, has_touch=width < 500
    )
    context.add_cookies([{"name": n, "value": v, "url": url} for n, v in (("locale", locale), ("theme", theme))])
    page = context.new_page()
    page.on("console", lambda line: _complain(line.type, line.text, page.url))
    page.on("pageerror", lambda broken: _complain("error", str(broken), page.url))
    _picture(page, said.folder, "sign-in", f"{url}/sign-in", width, locale, theme)
    page.fill("#f-login", login)
    page.fill("#f-password", said.password or password_of(Settings.from_env()))
    page.press("#f-password", "Enter")
    page.wait_for_url(lambda address: "/sign-in" not in address)
    for shot in wanted:
        _follow(page, url, shot)
        _picture(page, said.folder, shot.name, None, width, locale, theme)
    context.close()


def _follow(page: Page, url: str, shot: Shot) -> None:
    page.goto(url + shot.address)
    for selector in (shot.follow or "").split(" | "):
        link = page.locator(selector).first if selector else None
        if link is not None and link.count():
            page.goto(url + (link.get_attribute("href") or "/"))


def _picture(page: Page, folder: Path, name: str, address: str | None, width: int, locale: str, theme: str) -> None:
    if address:
        page.goto(address)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(150)
    target = folder / f"{name}-{width}-{locale}-{theme}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target, full_page=True)


def _complain(kind: str, text: str, where: str) -> None:
    if kind == "error" and "404" not in text:
        print(f"console error at {where}: {text}", file=sys.stderr)


@contextmanager
def _served(url: str) -> Iterator[str]:
    """The given product; else the one that runs on WEB_PORT; else our own: demo, web, head-end and street."""
    own = f"http://127.0.0.1:{os.environ.get('WEB_PORT', '8080')}"
    if url or _answers(own):
        yield url or own
        return
    env = os.environ | {"PATH": f"{Path(TALLYHOUSE).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([TALLYHOUSE, "demo", "seed"], check=True, env=env)
    programs = [subprocess.Popen([TALLYHOUSE, name], env=env) for name in ("web", "headend", "street")]
    try:
        _wait_for(own)
        time.sleep(SETTLE_S)  # every meter of the street has answered once by then
        yield own
    finally:
        for program in reversed(programs):
            program.terminate()
        for program in programs:
            program.wait(timeout=15)


def _answers(url: str) -> bool:
    try:
        urlopen(f"{url}/healthz", timeout=2).close()
    except OSError:
        return False
    return True


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while not _answers(url):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} does not answer")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
