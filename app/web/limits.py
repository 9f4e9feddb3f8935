"""How often somebody may ask: counted in Redis, by moving windows, before the database is asked anything (adr 0019).

Who asks is known by the digest of a session's or token's secret once it has been good; until then, by the address. So a
flood of made-up secrets counts against the address it comes from, and a flood of a group against that group alone. Without
Redis every process counts for itself. Limits are settings; '' is none.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock
from typing import ClassVar

from flask import Flask, Response, current_app, g, request, session
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded
from flask_login import AnonymousUserMixin

from app.kernel.clock import EPOCH, wall_now
from app.kernel.errors import AppError
from app.permissions.policy import Permission
from app.settings import Settings

KNOWN_MAX = 50_000
STORAGE_S = 0.5
#: Never counted: what looks whether we live, what a browser keeps, and what its own signature proves cheaply.
UNCOUNTED = frozenset({"static", "console.health", "sms.take_report"})
#: Words in the name of a view; asking to be let in, and taking many rows away.
SIGN_IN, EXPORT = ("sign_in", "password", "step_up", "sso", "switch"), ("export", "csv")
#: What a view asks for that makes somebody's number readable.
UNMASK = frozenset({Permission.PERSON_PHONE_UNMASK, Permission.PERSON_DOCUMENT_UNMASK})


class TooManyRequests(AppError):
    """More often than the limit allows; nothing was done."""

    code, status = "too_many_requests", 429
    message_zh = "请求太频繁，本次没有执行任何操作。请在 {seconds} 秒后再试。"
    message_en = "That was too often; nothing was done. Try again in {seconds} seconds."


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, once known."""

    tenant_id: int
    #: `user:<id>` or `token:<id>`.
    who: str


class Known:
    """Secrets that were good, by digest. Whose a secret is never changes; whether it is still good is asked elsewhere."""

    def __init__(self) -> None:
        self._askers: OrderedDict[bytes, Asker] = OrderedDict()
        self._lock = Lock()

    def find(self, digest: bytes | None) -> Asker | None:
        """Whose secret this is; None when it was never seen to be good here."""
        with self._lock:
            return self._askers.get(digest) if digest else None

    def note(self, digest: bytes, asker: Asker) -> None:
        """Remember; the oldest are forgotten."""
        with self._lock:
            self._askers[digest] = asker
            while len(self._askers) > KNOWN_MAX:
                self._askers.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Rule:
    setting: str
    key: Callable[[], str]
    exempt: Callable[[], bool]


class Limits:
    """The limits of one application."""

    #: Narrow before wide: what one person may no longer ask does not use up what the group may.
    RULES: ClassVar[tuple[_Rule, ...]] = (
        _Rule("limit_sign_in", lambda: f"sign-in:{_address()}", lambda: request.method != "POST" or not _is(SIGN_IN)),
        _Rule("limit_export", lambda: f"export:{_who()}", lambda: not _takes_away()),
        _Rule("limit_unmask", lambda: f"unmask:{_who()}", lambda: not _unmasks()),
        _Rule("limit_user", lambda: _who(), lambda: not _who().startswith("user:")),
        _Rule("limit_token", lambda: _who(), lambda: not _who().startswith("token:")),
        _Rule("limit_address", lambda: f"address:{_address()}", lambda: _asker() is not None),
        _Rule("limit_tenant", lambda: _tenant(), lambda: _asker() is None),
    )

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.known = Known()
        found = [_application_limit(rule, settings) for rule in self.RULES if getattr(settings, rule.setting)]
        self.limiter = Limiter(
            lambda: f"address:{_address()}",
            application_limits=list(found),
            storage_uri=_storage_uri(settings.redis_url),
            storage_options={"socket_timeout": STORAGE_S, "socket_connect_timeout": STORAGE_S},  # type: ignore[dict-item]
            strategy="moving-window",
            key_prefix=f"tallyhouse:{_installation(settings)}",
            in_memory_fallback_enabled=True,
            swallow_errors=True,
        )
        self.limiter.init_app(app)


def install_limits(app: Flask, settings: Settings) -> None:
    """Count before anything else is done. Called before the guards are installed."""
    app.extensions["tallyhouse_limits"] = Limits(app, settings)
    app.register_error_handler(RateLimitExceeded, _refuse)
    app.after_request(_remember)


def _application_limit(rule: _Rule, settings: Settings) -> ApplicationLimit:
    def is_exempt() -> bool:
        return request.endpoint in UNCOUNTED or rule.exempt()

    return ApplicationLimit(getattr(settings, rule.setting), key_function=rule.key, exempt_when=is_exempt)


def _storage_uri(redis_url: str) -> str:
    return "redis+" + redis_url if redis_url.startswith("unix://") else redis_url


def _installation(settings: Settings) -> str:
    """Two installations on one Redis count apart."""
    return hashlib.sha256(b"limits|" + settings.secret_key.encode()).hexdigest()[:12]


def _refuse(_exceeded: RateLimitExceeded) -> Response:
    """429 with the seconds until it is worth trying again. Nobody is loaded for it: that would cost what is saved."""
    g._login_user, g.nonce = AnonymousUserMixin(), secrets.token_urlsafe(18)
    limit = _limits().limiter.current_limit
    now = int((wall_now() - EPOCH).total_seconds())
    seconds = max(1, limit.reset_at - now) if limit else 60
    answer: Response = current_app.make_response(current_app.handle_user_exception(TooManyRequests(seconds=seconds)))
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _remember(response: Response) -> Response:
    """A secret that was good is known from now on."""
    digest, known = _digest(), _limits().known
    if digest is None or known.find(digest) is not None:
        return response
    machine, person = g.get("api_actor"), g.get("_login_user")
    if machine is not None:
        known.note(digest, Asker(machine.tenant_id, f"token:{machine.tenant_id}:{machine.token_id}"))
    elif person is not None and person.is_authenticated and "tenant_id" in g:
        known.note(digest, Asker(g.tenant_id, f"user:{g.tenant_id}:{person.found.user_id}"))
    return response


def _limits() -> Limits:
    found: Limits = current_app.extensions["tallyhouse_limits"]
    return found


def _digest() -> bytes | None:
    """Digest of the secret that came with the request: a bearer token on the API, a session's elsewhere."""
    if request.path.startswith("/api/"):
        raw = request.headers.get("Authorization", "").partition(" ")[2].strip()
    else:
        raw = str(session.get("_user_id") or "")
    return hashlib.sha256(raw.encode()).digest() if raw else None


def _asker() -> Asker | None:
    if "asker" not in g:
        g.asker = _limits().known.find(_digest())
    found: Asker | None = g.asker
    return found


def _who() -> str:
    asker = _asker()
    return asker.who if asker else f"address:{_address()}"


def _tenant() -> str:
    asker = _asker()
    return f"tenant:{asker.tenant_id}" if asker else "tenant:0"


def _address() -> str:
    """Where the request comes from as far as trusted proxies say; of IPv6 the network that one customer is given."""
    try:
        came = ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    if isinstance(came, IPv6Address):
        return str(came.ipv4_mapped or ip_network((came, 64), strict=False))
    return str(came)


def _takes_away() -> bool:
    """Whether the answer is a file of many rows: a view of that name, or a page asked for as one."""
    return _is(EXPORT) or request.args.get("format") == "csv"


def _unmasks() -> bool:
    """Whether somebody's number is made readable: whatever the view is called, it asks for the right to."""
    view = current_app.view_functions.get(request.endpoint or "")
    return request.method == "POST" and getattr(view, "permission", None) in UNMASK


def _is(words: tuple[str, ...]) -> bool:
    name = request.endpoint or ""
    return any(word in name for word in words)
