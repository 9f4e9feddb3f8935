"""Words, numbers and times as pages show them: the locale of the request, the filters of the templates."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask, g, has_request_context, request
from flask_login import current_user

from app.kernel.clock import business_now
from app.kernel.money import format_yuan
from app.kernel.quantity import format_kwh
from app.kernel.text import gettext_in, ngettext_in
from app.tenants.phones import mask_name

LOCALES = ("zh", "en")
THEMES = ("auto", "light", "dark")
ZONE = "Asia/Shanghai"

#: One letter beside colour and shape, so that a state can be read without seeing colours.
LETTERS = {
    "zh": {
        "normal": "正", "alarm_1": "1", "alarm_2": "2", "zero": "0", "cut_off": "停", "guaranteed": "保",
        "suspended": "报", "vacant": "空", "offline": "离",
    },
    "en": {
        "normal": "N", "alarm_1": "1", "alarm_2": "2", "zero": "0", "cut_off": "X", "guaranteed": "G",
        "suspended": "S", "vacant": "V", "offline": "?",
    },
}  # fmt: skip
SIGNS = {
    "online": "✓", "confirmed": "✓", "queued": "…", "sent": "→", "acknowledged": "→", "pending": "…",
    "refused": "✕", "rejected": "✕", "expired": "–", "cancelled": "–", "uncertain": "?", "unconfirmed": "?", "dry_run": "D",
}  # fmt: skip


def locale() -> str:
    """The language of this request: chosen on the page, else the person's, else Chinese.

    The browser's counts for programs only: the page to sign in on and the pages behind it speak one language.
    """
    if not has_request_context():
        return "zh"
    if "locale" not in g:
        g.locale = _wanted_locale()
    return str(g.locale)


def _wanted_locale() -> str:
    chosen = request.cookies.get("locale")
    if chosen in LOCALES:
        return str(chosen)
    if current_user and current_user.is_authenticated:
        return str(current_user.found.locale)
    asked = request.accept_languages.best_match(LOCALES) if request.path.startswith("/api/") else None
    return asked or LOCALES[0]


def theme() -> str:
    """auto | light | dark, chosen on the page."""
    chosen = request.cookies.get("theme")
    return chosen if chosen in THEMES else "auto"


def _(message: str, **details: object) -> str:
    """The message in the language of the request, with its details filled in."""
    said = gettext_in(locale(), message)
    return said % details if details else said


def ngettext(one: str, many: str, n: int, **details: object) -> str:
    """A counted message in the language of the request."""
    return ngettext_in(locale(), one, many, n) % {"num": n, **details}


def listed(words: Iterable[str]) -> str:
    """Words one after another, as the language of the request parts them."""
    return ("、" if locale() == "zh" else ", ").join(words)


def yuan(fen: int | None) -> str:
    """`¥1,284.50`, or a dash where there is no amount."""
    return "–" if fen is None else format_yuan(fen)


def kwh(wh: int | None) -> str:
    """Watt-hours as kWh with two decimals; the unit stands in the label."""
    return "–" if wh is None else format_kwh(wh)


def count(n: int | None) -> str:
    """A whole number with thousands separators."""
    return "–" if n is None else f"{n:,}"


def price(value: Decimal | str | None) -> str:
    """A price per unit as it was published, without trailing zeros beyond two decimals."""
    if value is None:
        return "–"
    text = f"{Decimal(value):.5f}".rstrip("0")
    whole, _dot, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"


def moment(instant: datetime | None, zone: str = ZONE) -> str:
    """`2026-07-31 17:05` in the property's zone."""
    return "–" if instant is None else instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def clock_time(instant: datetime | None, zone: str = ZONE) -> str:
    """`17:05:09` in the property's zone, for lines that follow one another within a minute."""
    return "–" if instant is None else instant.astimezone(ZoneInfo(zone)).strftime("%H:%M:%S")


def ago(instant: datetime | None, now: datetime | None = None) -> str:
    """How long before (or until) an instant, in words, by the business clock."""
    if instant is None:
        return "–"
    gap = (now or business_now()).astimezone(UTC) - instant
    return _span_words(-gap, _("%(span)s后")) if gap < -timedelta(seconds=30) else _span_words(gap, _("%(span)s前"))


def span_words(gap: timedelta) -> str:
    """`3 分钟`, `2 小时`, `5 天`."""
    minutes = int(gap.total_seconds() // 60)
    if minutes < 60:
        return ngettext("%(num)s 分钟", "%(num)s 分钟", max(minutes, 0))
    if minutes < 48 * 60:
        return ngettext("%(num)s 小时", "%(num)s 小时", minutes // 60)
    return ngettext("%(num)s 天", "%(num)s 天", minutes // (24 * 60))


def _span_words(gap: timedelta, sentence: str) -> str:
    return _("刚刚") if gap < timedelta(minutes=1) else sentence % {"span": span_words(gap)}


def letter(state: str) -> str:
    """The sign inside a state's mark."""
    return LETTERS[locale()].get(state) or SIGNS.get(state, "·")


def state_words(state: str) -> str:
    """A state of a room, meter or command in words."""
    words = {
        "normal": _("正常"), "alarm_1": _("一级预警"), "alarm_2": _("二级预警"), "zero": _("余额用尽"),
        "cut_off": _("已停供"), "guaranteed": _("保电"), "suspended": _("报停"), "vacant": _("空置"),
        "offline": _("离线"), "online": _("在线"), "queued": _("待下发"), "sent": _("已下发"),
        "acknowledged": _("已应答"), "confirmed": _("已回读确认"), "unconfirmed": _("未确认"), "refused": _("表计拒绝"),
        "expired": _("已过期"), "cancelled": _("已取消"), "dry_run": _("演练未下发"), "uncertain": _("待核实"),
        "pending": _("等待中"), "rejected": _("未通过"),
    }  # fmt: skip
    return words.get(state, state)


def install_words(app: Flask) -> None:
    """Add the filters and the translation functions to the templates."""
    env: Any = app.jinja_env
    env.add_extension("jinja2.ext.i18n")
    env.install_gettext_callables(
        lambda m: gettext_in(locale(), m), lambda a, b, n: ngettext_in(locale(), a, b, n), newstyle=True
    )
    env.policies["ext.i18n.trimmed"] = True
    filters = (yuan, kwh, count, price, moment, clock_time, ago, span_words, letter, state_words, mask_name)
    env.filters.update({f.__name__: f for f in filters})
