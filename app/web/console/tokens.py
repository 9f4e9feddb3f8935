"""API tokens API 令牌: keys of machines, each bound to a place, to a few permissions, to an end and to addresses."""

from dataclasses import dataclass
from datetime import timedelta

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from app.kernel.clock import wall_now
from app.kernel.errors import AppError, Invalid
from app.permissions.models import ApiToken, User
from app.permissions.policy import Permission, known
from app.permissions.tokens import MACHINE_PERMISSIONS, NAME_MAX, issue_token, list_tokens, revoke_token
from app.tenants.access import or_not_found, within
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.node_choices import chosen_node, node_choices
from app.web.permission_words import sentences
from app.web.places import actor, operator
from app.web.words import _, locale

#: What the form offers, in days.
LASTS_DAYS = (30, 90, 180, 365, 730)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as the list shows it."""

    token: ApiToken
    place: str
    may: list[str]
    issuer: str
    #: good | expired | revoked.
    state: str


@console.get("/tokens")
@requires(Permission.SECURITY_SETTING_READ)
def tokens() -> ResponseReturnValue:
    """The tokens of every place in view; who manages them finds the form for another."""
    return _page()


@console.post("/tokens")
@requires(Permission.API_TOKEN_MANAGE, fresh_factor=True)
def token_issue() -> ResponseReturnValue:
    """Issue a token; it stands on this answer and nowhere else. Raises NotFound for a place that is not one's own."""
    form = request.form
    node_id = chosen_node(Permission.API_TOKEN_MANAGE, form.get("place", ""))
    try:
        with g.session.begin_nested():
            raw = issue_token(
                g.session,
                node_id=node_id,
                name=form.get("name", ""),
                permissions=known(form.getlist("permissions")),
                expires_at=wall_now() + timedelta(days=_days(form.get("days", ""))),
                addresses=[line for line in form.get("addresses", "").splitlines() if line.strip()],
                by=actor(),
            )
    except AppError as refused:
        return _page(typed=form.to_dict(), refused=refused.message(locale())), refused.status
    return _page(raw=raw)


@console.post("/tokens/<uuid:public_id>/revoke")
@requires(Permission.API_TOKEN_MANAGE)
def token_revoke(public_id: object) -> ResponseReturnValue:
    """End a token at once. Raises NotFound."""
    allowed = operator().scope.nodes(Permission.API_TOKEN_MANAGE)
    query = select(ApiToken.id).where(ApiToken.public_id == public_id, within(ApiToken.node_id, allowed))
    revoke_token(g.session, token_id=or_not_found(g.session.scalar(query)), allowed=allowed, by=actor())
    flash(_("令牌已撤销，使用它的系统从现在起被拒绝。"), "good")
    return redirect(url_for("console.tokens"), 303)


def _days(text: str) -> int:
    if text not in {str(days) for days in LASTS_DAYS}:
        raise Invalid(field=_("有效期"), reason=_("请从列表中选择"))
    return int(text)


def _row(token: ApiToken, words: dict[Permission, str], issuers: dict[str, str]) -> TokenRow:
    state = "revoked" if token.revoked_at else "good" if token.expires_at > wall_now() else "expired"
    may = [words[p] for p in sorted(known(token.permissions))]
    return TokenRow(token, operator().nodes[token.node_id].name, may, issuers.get(token.issued_by, _("系统")), state)


def _issuers(found: list[ApiToken]) -> dict[str, str]:
    """Names of those who issued these tokens, by how the audit log names them."""
    ids = {int(t.issued_by.removeprefix("user:")) for t in found if t.issued_by.startswith("user:")}
    return {f"user:{id_}": name for id_, name in g.session.execute(select(User.id, User.name).where(User.id.in_(ids)))}


def _page(**context: object) -> str:
    words, found = sentences(), list_tokens(g.session, allowed=operator().scope.nodes(Permission.SECURITY_SETTING_READ))
    issuers = _issuers(found)
    given = {"raw": "", "typed": {}, "refused": None} | context
    return render_template(
        "console/tokens.html",
        rows=[_row(token, words, issuers) for token in found],
        places=node_choices(Permission.API_TOKEN_MANAGE),
        offered=[(p, words[p]) for p in sorted(MACHINE_PERMISSIONS)],
        lasts_days=LASTS_DAYS,
        name_max=NAME_MAX,
        **given,
    )
