"""Data keys 数据密钥 of the group: their versions, how far a change is, and beginning one. Fields and keys are never shown."""

from dataclasses import dataclass
from datetime import datetime

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from app.kernel.errors import AppError
from app.permissions.policy import Permission
from app.tenants.keys import WrappedKey, key_store, wrapped_keys
from app.tenants.models import Tenant, TenantKey
from app.tenants.personal_data import REASON_MAX, REASON_MIN
from app.tenants.rotation import begin_rotation, key_uses
from app.tenants.service import ReasonMissing
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import actor, operator
from app.web.words import _, locale


class KeysOfTheGroup(AppError):
    """Somebody holds the right at a part of the group only."""

    code, status = "keys_of_the_group", 403
    message_zh = "数据密钥属于整个集团，只有在集团总部持有此权限的人可以查看和更换。"
    message_en = "The data keys are the whole group's: only who holds this right at headquarters sees and changes them."


@dataclass(frozen=True, slots=True)
class Version:
    """A data key as the page shows it."""

    number: int
    made_at: datetime
    #: Null while fields are being written anew under it; the first key has always been done.
    done_at: datetime | None
    under_way: bool
    fields: int
    digests: bool
    #: Wrapped by the key-encryption key of today.
    wrapped_today: bool


@console.get("/keys")
@requires(Permission.PLATFORM_KEY_ROTATE)
def keys() -> ResponseReturnValue:
    """Every version with what is under it. Raises KeysOfTheGroup."""
    _refuse_part()
    return _page()


@console.post("/keys/rotate")
@requires(Permission.PLATFORM_KEY_ROTATE, fresh_factor=True)
def keys_rotate() -> ResponseReturnValue:
    """Begin a change; the clock goes on with it. Raises KeysOfTheGroup."""
    _refuse_part()
    reason = request.form.get("reason", "").strip()[:REASON_MAX]
    try:
        with g.session.begin_nested():
            if len(reason) < REASON_MIN:
                raise ReasonMissing()
            begin_rotation(g.session, by=actor(), blinds=request.form.get("digests") == "1", reason=reason)
    except AppError as refused:
        return _page(refused.message(locale()), refused.status)
    flash(_("已开始更换。新数据立即使用新密钥，原有数据在后台逐批更换，期间照常使用。"), "good")
    return redirect(url_for("console.keys"), 303)


def _refuse_part() -> None:
    """The keys are the whole group's: a right at one place is not enough."""
    if not all(operator().may(Permission.PLATFORM_KEY_ROTATE, root) for root in operator().tree.roots):
        raise KeysOfTheGroup()


def _page(refused: str = "", status: int = 200) -> ResponseReturnValue:
    rows = {row.version: row for row in g.session.scalars(select(TenantKey))}
    began = g.session.scalars(select(Tenant.created_at).where(Tenant.id == g.tenant_id)).one()
    fields: dict[int, int] = {}
    for use in key_uses(g.session):
        fields[use.version] = fields.get(use.version, 0) + use.fields
    versions = [_version(key, rows.get(key.version), began, fields) for key in reversed(wrapped_keys(g.session))]
    page = render_template("console/keys.html", versions=versions, store=key_store().key_id, refused=refused)
    return page, status


def _version(key: WrappedKey, row: TenantKey | None, began: datetime, fields: dict[int, int]) -> Version:
    return Version(
        number=key.version,
        made_at=row.created_at if row else began,
        done_at=row.rotated_at if row else began,
        under_way=key.under_way,
        fields=fields.get(key.version, 0),
        digests=key.blinds,
        wrapped_today=key_store().is_current(key.wrapped),
    )
