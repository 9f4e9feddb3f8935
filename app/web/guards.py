"""What stands before and after every request: host, session, tenant, permission, forgery, headers, commit.

A view names what it needs: `@requires(Permission.X)` or `@public`. A view that names nothing is refused for everybody;
the structural test finds it before a person does. The order is: known host → known route → plain text → signed in → the deed
is held somewhere in the person's scope → CSRF. Which *place* the deed is held for is checked where the thing is loaded, by the
`access_*` functions, which answer 404 for "not yours" and "not there" alike.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from flask import Flask, Response, abort, current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf import CSRFProtect

from app.kernel.actor import Actor
from app.kernel.errors import AppError, Forbidden
from app.permissions.policy import Permission
from app.permissions.step_up import is_fresh
from app.permissions.view_as import ViewingOnly
from app.settings import Settings
from app.tenants import audit
from app.web.words import _

View = TypeVar("View", bound=Callable[..., Any])
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
BODY_MAX_BYTES = 8 * 1024 * 1024
FORM_PARTS_MAX = 2000
#: A form larger than this is not carried over the page that asks for a factor.
KEPT_LENGTH_MAX = 100_000
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


def while_viewing(view: View) -> View:
    """May be sent while one views as somebody else: ending that, and what concerns this computer only."""
    view.while_viewing = True  # type: ignore[attr-defined]
    return view


def requires(permission: Permission | str, *, fresh_factor: bool = False) -> Callable[[View], View]:
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


def _admit() -> ResponseReturnValue | None:
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
    refuse_controls(request.args.items(multi=True))
    refused = _refuse_stranger(view.permission)
    if refused is None and request.method not in SAFE:
        refuse_controls(request.form.items(multi=True))
        refuse_controls((name, file.filename or "") for name, file in request.files.items(multi=True))
        csrf.protect()
        _refuse_viewer(view)
    if refused is None and getattr(view, "fresh_factor", False):
        # After the forgery check: what was typed is kept on the page that asks, and must not be a stranger's.
        return _ask_factor(view.permission)
    return refused


def refuse_controls(fields: Iterable[tuple[str, str]]) -> None:
    """Raises ControlCharacters."""
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


def _refuse_viewer(view: object) -> None:
    """Raises ViewingOnly, unless the view is for everybody or says that viewers may send it."""
    if getattr(view, "permission", None) is None or getattr(view, "while_viewing", False):
        return
    if current_user.is_authenticated and current_user.viewing:
        raise ViewingOnly


def _ask_factor(permission: Permission | str) -> ResponseReturnValue | None:
    """Nothing when the factor is fresh; else the page that asks for it, or the one where it is set up."""
    found = current_user.found
    if is_fresh(found.factor_at):
        g.factor = "fresh"
        return None
    if found.factor_kinds:
        return _to_step_up(found.factor_kinds)
    if not found.factor_required or permission == SIGNED_IN:
        _waive_factor(found.user_id)
        return None
    flash(_("这项操作需要二次验证。请先在这里设置验证器或通行密钥，然后再操作一次。"), "warn")
    return _leave_for(url_for("console.security"))


def _parts(address: str | None) -> SplitResult:
    """The parts of an address that a browser says; empty ones for what no browser would."""
    try:
        return urlsplit(address or "")
    except ValueError:
        return urlsplit("")


def _to_step_up(kinds: frozenset[str]) -> ResponseReturnValue:
    """A page asked for is asked for again afterwards; a form sent is kept, and sent again by a click."""
    if request.headers.get("HX-Request"):
        page = _parts(request.headers.get("HX-Current-URL"))
        return _leave_for(url_for("console.step_up_page", next=f"{page.path}?{page.query}".rstrip("?") or None))
    if request.method in SAFE:
        return _leave_for(url_for("console.step_up_page", next=request.full_path.rstrip("?")))
    kept = kept_form()
    # What cannot be sent again is typed again, on the page it was typed on: the form's own address may answer no GET.
    back = request.full_path.rstrip("?") if kept else _parts(request.referrer).path
    page_ = render_template("console/step_up.html", back=back, kept=kept, kinds=kinds, refused=None)
    return page_, 403


def kept_form() -> str:
    """What was typed, as JSON, for sending it again; '' when it held files or is too long, and must be typed anew."""
    fields = [[name, value] for name, value in request.form.items(multi=True) if name != "csrf_token"]
    said = json.dumps(fields, ensure_ascii=False)
    return "" if request.files or len(said) > KEPT_LENGTH_MAX else said


def _waive_factor(user_id: int) -> None:
    """Who has none in a group that asks for none passes, and the log says so."""
    g.factor = "none"
    if request.method not in SAFE:
        audit.record(
            g.session, deed="user:factor:waive", subject=f"users:{user_id}",
            actor=Actor.user(user_id, address=request.remote_addr),
            facts={"factor": "none", "view": str(request.endpoint).removeprefix("console.")},
        )  # fmt: skip


def _leave_for(address: str) -> Response:
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": address})
    return redirect(address, 303)  # type: ignore[return-value]


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
        response.headers["Cache-Control"] = "no-store"  # also where a file sent brought a rule of its own
    return response
