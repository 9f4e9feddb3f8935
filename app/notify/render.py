"""The words of a notice: a template by the name of its kind, filled with figures, in the language of the customer."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment

from app.kernel.money import format_yuan
from app.kernel.text import renderer, translator

TEMPLATES = Path(__file__).with_name("templates")
KINDS = ("alarm_1", "alarm_2", "zero", "last_warning", "stopped", "restored")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the supply is: the property's name, which signs the message, and its time zone."""

    name: str
    time_zone: str


def render_notice(*, kind: str, params: dict[str, Any], place: Place, locale: str = "zh") -> str:
    """The text of a message. Raises jinja2.TemplateNotFound for a kind without a template."""
    words = {
        "property": place.name,
        "number": params["account_number"],
        "balance": _yuan(params.get("available_fen")),
        "overdraft": _yuan(-params["overdraft_fen"]) if params.get("overdraft_fen") is not None else "",
        "lasts": _lasts(params.get("hours_left"), locale),
        "stop_from": _instant(params.get("stop_from"), place, locale),
    }
    return _templates(locale).get_template(f"{kind}.txt").render(words).strip()


def render_resident_code(digits: str, *, place: Place, locale: str = "zh") -> str:
    """The text of the message that proves a resident's number."""
    return _templates(locale).get_template("resident_code.txt").render(property=place.name, digits=digits).strip()


@cache
def _templates(locale: str) -> Environment:
    return renderer(TEMPLATES, locale)


def _yuan(amount_fen: int | None) -> str:
    return "" if amount_fen is None else format_yuan(amount_fen)


def _lasts(hours_left: int | None, locale: str) -> str:
    _ = translator(locale)
    if hours_left is None:
        return _("请留意用量")
    if hours_left < 24:
        return _("预计可用不足 1 天")
    return _("预计可用约 %(days)s 天", days=hours_left // 24)


def _instant(iso: str | None, place: Place, locale: str) -> str:
    """A local time to the minute, or the half hour that every last warning promises."""
    if iso is None:
        return translator(locale)("现在起 30 分钟后")
    return datetime.fromisoformat(iso).astimezone(ZoneInfo(place.time_zone)).strftime("%m-%d %H:%M")
