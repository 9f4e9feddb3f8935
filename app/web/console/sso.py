"""Company sign-in: to the provider and back, binding one's account, and the administrator's list of providers."""

import uuid
from typing import Any

from flask import current_app, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import select

from app.kernel.clock import wall_us
from app.kernel.db import database
from app.kernel.errors import AppError, NotFound
from app.kernel.outbound import Outbound
from app.kernel.unit_of_work import unit_of_work
from app.notify.webhooks import to_loopback
from app.permissions.factor_models import OidcProvider
from app.permissions.models import User
from app.permissions.oidc import Asked, SsoFailed, Vouched, ask, authorization_url, discover, vouched
from app.permissions.pins import PinNotEnough
from app.permissions.policy import Permission
from app.permissions.sso import (
    FoundProvider,
    SsoUnknown,
    add_provider,
    bind_identity,
    bound_providers,
    disable_provider,
    enter_by_provider,
    find_provider,
    list_providers,
    unbind_identity,
)
from app.permissions.step_up import is_fresh
from app.permissions.steps import STEP_LASTS
from app.permissions.view_as import ViewingOnly
from app.web.console.blueprint import console
from app.web.console.sign_in_steps import enter, start_again
from app.web.guards import SIGNED_IN, public, release_work, requires, signed_in
from app.web.places import actor, local_address, operator
from app.web.step_cookie import visitor
from app.web.words import _, locale

KEPT = "sso"
#: How long a page with the link that begins a binding may stand open.
MARK_LASTS_S = 3_600


@console.get("/sign-in/sso")
@public
def sso_page() -> ResponseReturnValue:
    """Asks for the company's word, and leads on when it is given."""
    slug = request.args.get("slug", "").strip().lower()
    if slug:
        return redirect(url_for("console.sso_begin", slug=slug[:40], next=local_address(request.args.get("next"))))
    return render_template("sign_in_sso.html", next=local_address(request.args.get("next")))


@console.get("/sign-in/sso/<slug>")
@public
def sso_begin(slug: str) -> ResponseReturnValue:
    """Send the browser to its provider. What must come back is kept in the browser itself, signed."""
    binding, mark = "", request.args.get("bind", "")
    if mark:
        first, binding = _before_binding(mark)
        if first is not None:
            return first
    try:
        provider = find_provider(database(), slug=slug, redirect_uri=_redirect_uri(slug))
        asked = ask()
        address = authorization_url(discover(_door(provider), provider.client.issuer), provider.client, asked)
    except AppError as refused:
        return start_again(refused)
    session[KEPT] = {
        "slug": slug, "state": asked.state, "nonce": asked.nonce, "verifier": asked.verifier, "at": wall_us(),
        "going": local_address(request.args.get("next")), "bind": binding,
    }  # fmt: skip
    return redirect(address)


@console.get("/sign-in/sso/<slug>/back")
@public
def sso_back(slug: str) -> ResponseReturnValue:
    """The provider's answer: a session, or an identity bound to who is signed in already."""
    kept = session.pop(KEPT, None)
    try:
        provider = find_provider(database(), slug=slug, redirect_uri=_redirect_uri(slug))
        who = _vouched(provider, kept)
        if kept["bind"]:
            return _bind(provider, who, kept["bind"])
        return enter(enter_by_provider(database(), provider=provider, who=who, visitor=visitor()), kept["going"])
    except AppError as refused:
        if kept and kept.get("bind") and current_user.is_authenticated:
            flash(refused.message(locale()), "bad")
            return redirect(url_for("console.security_sso_page"))
        return start_again(refused)


@console.get("/security/sso")
@signed_in
def security_sso_page() -> ResponseReturnValue:
    """The group's providers, and which of them one's own account is bound to."""
    bound = bound_providers(g.session, user_id=operator().found.user_id)
    mark = _marks().dumps(str(operator().found.session_id))
    return render_template("console/security_sso.html", providers=list_providers(g.session), bound=bound, mark=mark)


@console.post("/security/sso/<uuid:public_id>/unbind")
@requires(SIGNED_IN, fresh_factor=True)
def security_sso_unbind(public_id: uuid.UUID) -> ResponseReturnValue:
    """Leave company sign-in. Raises NotFound."""
    found = g.session.scalar(select(OidcProvider.id).where(OidcProvider.public_id == public_id))
    if found is None:
        raise NotFound
    unbind_identity(g.session, provider_id=found, user=_me(), by=actor())
    flash(_("已解除绑定。"), "good")
    return redirect(url_for("console.security_sso_page"), 303)


@console.get("/sso-providers")
@requires(Permission.SECURITY_SETTING_READ)
def sso_providers() -> ResponseReturnValue:
    """The group's own sign-in services."""
    return _page(None)


@console.post("/sso-providers")
@requires(Permission.USER_PROVIDER_EDIT, fresh_factor=True)
def sso_provider_add() -> ResponseReturnValue:
    """Ask the provider what it is, and keep it when it answers for itself."""
    form = request.form
    try:
        with g.session.begin_nested():
            add_provider(
                g.session, slug=form.get("slug", "").strip().lower(), name=form.get("name", ""),
                issuer=form.get("issuer", ""), client_id=form.get("client_id", ""),
                client_secret=form.get("client_secret", ""), door=_own_door(), by=actor(),
            )  # fmt: skip
    except AppError as refused:
        return _page(refused.message(locale())), refused.status
    flash(_("企业登录已启用。请让一位同事先绑定并试登录一次。"), "good")
    return redirect(url_for("console.sso_providers"), 303)


@console.post("/sso-providers/<uuid:public_id>/disable")
@requires(Permission.USER_PROVIDER_EDIT, fresh_factor=True)
def sso_provider_disable(public_id: uuid.UUID) -> ResponseReturnValue:
    """Switch company sign-in off. Raises NotFound."""
    disable_provider(g.session, public_id=public_id, by=actor())
    flash(_("已停用。大家改用登录名和密码登录。"), "good")
    return redirect(url_for("console.sso_providers"), 303)


def _vouched(provider: FoundProvider, kept: dict[str, Any] | None) -> Vouched:
    """Whom the provider's answer speaks of. Raises SsoFailed and what the guard of the way out raises."""
    if not kept or kept["slug"] != provider.slug or _too_late(kept["at"]):
        raise SsoFailed(reason="state")
    door = _door(provider)
    asked = Asked(kept["state"], kept["nonce"], kept["verifier"])
    return vouched(door, discover(door, provider.client.issuer), provider.client, asked, request.args)


def _before_binding(mark: str) -> tuple[ResponseReturnValue | None, str]:
    """(where else to go first, the session that binds). A bound identity opens the account from then on, past its second
    factor: so binding begins on one's own page, by the mark that stands there, with a fresh factor, not while viewing and
    never by PIN. Raises PinNotEnough, ViewingOnly, SsoFailed.
    """
    if not current_user.is_authenticated:
        return redirect(url_for("console.sign_in_page")), ""
    found, page = operator().found, url_for("console.security_sso_page")
    if found.opened_by == "pin":
        raise PinNotEnough
    if operator().viewing:
        raise ViewingOnly
    if _marked(mark) != str(found.session_id):
        raise SsoFailed(reason="link")
    if found.factor_kinds and not is_fresh(found.factor_at):
        return redirect(url_for("console.step_up_page", next=page), 303), ""
    release_work()  # the provider is looked up in transactions of their own
    return None, str(found.session_id)


def _marked(mark: str) -> str | None:
    """The session whose page carried the mark; None for one that is not ours or too old."""
    try:
        return str(_marks().loads(mark[:300], max_age=MARK_LASTS_S))
    except BadData:
        return None


def _marks() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.config["SECRET_KEY"]), salt="sso-bind")


def _bind(provider: FoundProvider, who: Vouched, session_id: str) -> ResponseReturnValue:
    """Bind to whoever began it, in the same session, in a transaction of its own: this is a GET. Raises SsoUnknown, SsoHeld."""
    if not current_user.is_authenticated or g.tenant_id != provider.tenant_id:
        raise SsoUnknown(slug=provider.slug)
    if str(operator().found.session_id) != session_id or operator().viewing:
        raise SsoFailed(reason="state")
    by, user_id = actor(), operator().found.user_id
    with unit_of_work(provider.tenant_id, db=database()) as work:
        user = work.scalars(select(User).where(User.id == user_id)).one()
        bind_identity(work, provider_id=provider.id, subject=who.subject, user=user, by=by)
    flash(_("已绑定。以后可用“%(name)s”登录。", name=provider.name), "good")
    return redirect(url_for("console.security_sso_page"))


def _too_late(asked_us: int) -> bool:
    return wall_us() - asked_us > STEP_LASTS.total_seconds() * 1_000_000


def _redirect_uri(slug: str) -> str:
    """Where the provider sends the browser back to: from the setting, whatever the request's host says."""
    return str(current_app.config["SETTINGS"].public_address) + url_for("console.sso_back", slug=slug)


def _door(provider: FoundProvider) -> Outbound:
    with unit_of_work(provider.tenant_id) as work:
        return Outbound(loopback=to_loopback(work, current_app.config["SETTINGS"]))


def _own_door() -> Outbound:
    return Outbound(loopback=to_loopback(g.session, current_app.config["SETTINGS"]))


def _me() -> User:
    return g.session.scalars(select(User).where(User.id == operator().found.user_id)).one()  # type: ignore[no-any-return]


def _page(refused: str | None) -> str:
    address: str = _redirect_uri("company").replace("company", "…")
    return render_template(
        "console/sso_providers.html",
        providers=list_providers(g.session),
        refused=refused,
        back=address,
        form=request.form,
    )
