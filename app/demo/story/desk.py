"""The cashier at the counter, over HTTP like a browser: sign-in, form with its token, receipt."""

import re
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from app.demo.story.narrator import StoryBroken

_FIELD = re.compile(r"<input[^>]*?name=\"(?P<name>csrf_token|key)\"[^>]*?value=\"(?P<value>[^\"]*)\"")


@dataclass(frozen=True, slots=True)
class Form:
    """The hidden fields of the top-up form of one account, as the page gave them."""

    path: str
    fields: dict[str, str]


class Desk:
    """One signed-in browser session."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, follow_redirects=True, timeout=20, headers={"Referer": url})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.client.close()

    def sign_in(self, login: str, password: str) -> None:
        """Sign in through the form. Raises StoryBroken when the page comes back."""
        fields = _fields(self.client.get("/sign-in").text)
        answer = self.client.post("/sign-in", data=fields | {"login": login, "password": password})
        if answer.status_code != 200 or answer.url.path == "/sign-in":
            raise StoryBroken(f"{login} cannot sign in: {answer.status_code} at {answer.url.path}")

    def read(self, path: str) -> str:
        """A page's text. Raises StoryBroken when it does not open."""
        page = self.client.get(path)
        if page.status_code != 200:
            raise StoryBroken(f"{path} answers {page.status_code}")
        return page.text

    def open_form(self, account_public_id: object) -> Form:
        """Open an account at the counter."""
        path = f"/counter/{account_public_id}"
        return Form(path, _fields(self.read(path)))

    def submit(self, form: Form, *, yuan: str, channel: str = "cash") -> httpx.Response:
        """Send the form; a receipt page comes back when the money was taken."""
        return self.client.post(form.path, data=form.fields | {"amount": yuan, "channel": channel})


def _fields(page: str) -> dict[str, str]:
    return {found["name"]: found["value"] for found in _FIELD.finditer(page)}
