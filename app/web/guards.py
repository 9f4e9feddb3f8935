"""What stands before and after every request: host, session, tenant, permission, forgery, headers, commit.

A view names what it needs: `@requires(Permission.X)` or `@public`. A view that names nothing is refused for everybody;
the structural test finds it before a person does. The order is: known host → known route → plain text → signed in → the deed
is held somewhere in the person's scope → CSRF. Which *place* the deed is held for is checked where the thing is loaded, by the
`access_*` functions, which answer 404 for "not yours" and "not there" alike.
"""

import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeVar

from flask import Flask, Response, abort, current_app, g, redirect, request, url_for
from flask_login import current_user
from flask_wtf import CSRFProtect

from app.kernel.errors import AppError, Forbidden
from app.permissions.policy import Permission
from app.settings import Settings

View = TypeVar("View", bound=Callable[..., Any])
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
BODY_MAX_BYTES = 8 * 1024 * 1024
FORM_PARTS_MAX = 2000
#: Addresses of static files carry their digest, so a browser may keep them for a year.
STATIC_KEPT_S = 31_536_000

#: Nobody types these, PostgreSQL takes no NUL, and the rest turns lists and logs into something else. Tab and line
#: ends are fine.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

csrf = CSRFProtect()

#: What a view names that is for everybody who is signed in.
SIGNED_IN = "signed-in"


class ControlCharacters(AppError):
    """A field, an address or a file name holds characters that no keyboard makes."""

    code, status = "control_characters", 422
    message_zh = "填写内容含有不可见的控制字符。请重新手工输入后提交，不要从其他程序粘贴。"
    message_en = "What was sent holds invisible control characters. Type it again by hand instead of pasting it."


def public(view: View) -> View:
    """Anybody may ask this: sign-in, health, static files."""
    view.permission = None  # type: ignore[attr-defined]
    return view


def signed_in(view: View) -> View:
    """Anybody who is signed in, whatever they may do: one's own security, one's own sessions."""
    view.permission = SIGNED_IN  # type: ignore[attr-defined]
    return view


def requires(permission: Permission, *, fresh_factor: bool = False) -> Callable[[View], View]:
    """Only an operator who holds the permission somewhere in the tree gets in; others are told which one is missing.

    With `fresh_factor` the second factor must have been shown in this session within the last five minutes; who has
    not is asked for it and comes back. Who has none passes where the group asks for none; `factor_facts` says so.
    """

    def mark(view: View) -> View:
        view.permission = permission  # type: ignore[attr-defined]
        view.fresh_factor = fresh_factor  # type: ignore[attr-defined]
        return view

    return mark


def factor_facts() -> dict[str, str]:
    """For the audit record of a deed behind `fresh_factor`: `{"factor": "fresh"}`, or "none" where none is asked."""
    return {"factor": str(g.get("factor", "none"))}


def install_guards(app: Flask, settings: Settings) -> None:
    """Set limits, cookies and hooks on the application. Called once by create_app."""
    secure = settings.tls == "1"
    hosts = [name.strip() for name in settings.trusted_hosts.split(",") if name.strip()]
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SEND_FILE_MAX_AGE_DEFAULT=STATIC_KEPT_S,
        TRUSTED_HOSTS=[*hosts, *LOOPBACK],
        MAX_CONTENT_LENGTH=BODY_MAX_BYTES,
        MAX_FORM_MEMORY_SIZE=BODY_MAX_BYTES,
        MAX_FORM_PARTS=FORM_PARTS_MAX,
        SESSION_COOKIE_NAME="__Host-tallyhouse" if secure else "tallyhouse",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        REMEMBER_COOKIE_SAMESITE="Lax",
        REMEMBER_COOKIE_HTTPONLY=True,
        REMEMBER_COOKIE_SECURE=secure,
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=secure,
        TLS=secure,
    )
    csrf.init_app(app)
    app.before_request(_admit)
    app.after_request(_settle)
    app.after_request(_add_headers)
    app.teardown_request(_close)


def _admit() -> Response | None:
    g.nonce = secrets.token_urlsafe(18)
    if (
        request.endpoint is None
        or request.endpoint == "static"
        or request.blueprint in current_app.config["OWN_GUARDS"]
    ):
        return None
    view = current_app.view_functions[request.endpoint]
    if not hasattr(view, "permission"):
        abort(403, f"{request.endpoint} names no permission")
    _refuse_controls(request.args.items(multi=True))
    refused = _refuse_stranger(view.permission)
    if refused is None and request.method not in SAFE:
        _refuse_controls(request.form.items(multi=True))
        _refuse_controls((name, file.filename or "") for name, file in request.files.items(multi=True))
        csrf.protect()
    return refused


def _refuse_controls(fields: Iterable[tuple[str, str]]) -> None:
    if any(CONTROL.search(name) or CONTROL.search(value) for name, value in fields):
        raise ControlCharacters


def _refuse_stranger(permission: Permission | str | None) -> Response | None:
    if permission is None:
        return None
    if not current_user.is_authenticated:
        return _to_sign_in()
    if permission != SIGNED_IN and permission not in current_user.scope.permissions:
        raise Forbidden(permission=permission)
    return None


def _to_sign_in() -> Response:
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": url_for("console.sign_in")})
    back = request.full_path.rstrip("?") if request.method in SAFE else None
    return redirect(url_for("console.sign_in", next=back if back != "/" else None))  # type: ignore[return-value]


def keep_open(stack: ExitStack) -> None:
    """Hand the request's open unit of work to the guards, which commit or roll it back at the end."""
    g.work = stack


def release_work() -> None:
    """Commit and close the request's unit of work early, for deeds that belong to no tenant."""
    stack: ExitStack | None = g.pop("work", None)
    if stack is not None:
        stack.close()


def _settle(response: Response) -> Response:
    """Commit what an unsafe request did and answered well; everything else is rolled back."""
    stack: ExitStack | None = g.pop("work", None)
    if stack is None:
        return response
    if request.method in SAFE or response.status_code >= 400:
        g.session.rollback()
    stack.close()
    return response


def _close(error: BaseException | None) -> None:
    stack: ExitStack | None = g.pop("work", None)
    if stack is not None:
        g.session.rollback()
        stack.close()


def _add_headers(response: Response) -> Response:
    nonce = g.get("nonce", "")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; connect-src 'self'; "
        "font-src 'self'; img-src 'self' data: blob:; manifest-src 'self'; "
        f"script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'"
    )
    defaults = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
    for name, value in defaults.items():
        response.headers.setdefault(name, value)
    if current_app.config["TLS"]:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
