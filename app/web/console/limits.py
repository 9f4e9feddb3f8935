"""Limits 限额: what each role may do alone at each place, set where it differs, inherited in grey elsewhere."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.kernel.errors import AppError, Invalid, NotFound
from app.kernel.money import parse_yuan
from app.permissions.deeds import DEEDS, LimitedDeed, Unit, limit_at
from app.permissions.limits import load_limits, roles_under, set_limit
from app.permissions.policy import Permission
from app.web.approval_words import MICROFEN_PER_YUAN_KWH, deed_words, role_named
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.node_choices import NodeChoice, node_choices
from app.web.places import actor, operator
from app.web.words import _, locale

EDIT, READ = Permission.APPROVAL_LIMIT_EDIT, Permission.SECURITY_SETTING_READ


@dataclass(frozen=True, slots=True)
class Cell:
    """What a role may do alone at the node, and where that was said; '' is the default of the product."""

    amount: int
    here: bool
    source: str


@console.get("/limits")
@requires(Permission.SECURITY_SETTING_READ)
def limits() -> ResponseReturnValue:
    """The matrix of roles and deeds at one node; the node is in the address. Raises NotFound."""
    node = _node(READ)
    table = {deed.name: _cells(deed, node.id) for deed in DEEDS.values()}
    roles = list(dict.fromkeys(role for cells in table.values() for role in cells))
    return render_template(
        "console/limits.html", node=node, nodes=node_choices(READ), deeds=list(DEEDS.values()), table=table, roles=roles
    )


@console.get("/limits/<deed>/<role>")
@requires(Permission.APPROVAL_LIMIT_EDIT)
def limit(deed: str, role: str) -> ResponseReturnValue:
    """The form for one limit. Raises NotFound."""
    return _form(deed, role, None)


@console.post("/limits/<deed>/<role>")
@requires(Permission.APPROVAL_LIMIT_EDIT, fresh_factor=True)
def limit_set(deed: str, role: str) -> ResponseReturnValue:
    """Set a limit, or take the node's own setting away. What was typed is kept when it is refused. Raises NotFound."""
    node, limited = _node(EDIT), _deed(deed)
    try:
        amount = None if request.form.get("deed") == "inherit" else _amount(limited, request.form.get("amount", ""))
        with g.session.begin_nested():
            set_limit(
                g.session,
                node_id=node.id,
                role=role,
                deed=deed,
                amount_max=amount,
                allowed=operator().scope.nodes(EDIT),
                by=actor(),
                reason=request.form.get("reason", "").strip()[:200],
            )
    except AppError as refused:
        return _form(deed, role, refused.message(locale())), refused.status
    flash(_("已设置：%(role)s · %(deed)s。", role=role_named(role), deed=deed_words(deed)), "good")
    return redirect(url_for("console.limits", node=node.ref), 303)


def _form(deed: str, role: str, refused: str | None) -> str:
    node, limited = _node(EDIT), _deed(deed)
    cell = _cells(limited, node.id).get(role)
    if cell is None:
        raise NotFound
    typed = request.form.get("amount", _typed(limited, cell.amount))
    return render_template(
        "console/limit.html", node=node, deed=limited, role=role, cell=cell, refused=refused, typed=typed
    )


def _cells(deed: LimitedDeed, node_id: int) -> dict[str, Cell]:
    tree, nodes, known = operator().tree, operator().nodes, load_limits(g.session)
    path = tree.path(node_id)
    cells = {}
    for role, standard in roles_under(g.session, deed):
        said_at = next((at for at in reversed(path) if (at, role, deed.name) in known), None)
        amount = limit_at(role, standard, path, known, deed)
        cells[role] = Cell(amount, said_at == node_id, nodes[said_at].name if said_at is not None else "")
    return cells


def _node(permission: Permission) -> NodeChoice:
    """The node in the address, the topmost one otherwise. Raises NotFound."""
    choices, wanted = node_choices(permission), request.args.get("node")
    found = next((each for each in choices if wanted in (None, each.ref)), None)
    if found is None:
        raise NotFound
    return found


def _deed(name: str) -> LimitedDeed:
    if name not in DEEDS:
        raise NotFound
    return DEEDS[name]


def _amount(deed: LimitedDeed, text: str) -> int:
    """What was typed, in the deed's unit. Raises Invalid, and the refusals of `parse_yuan`."""
    if deed.unit is Unit.FEN:
        return parse_yuan(text)
    try:
        value = Decimal(text.strip()) * (MICROFEN_PER_YUAN_KWH if deed.unit is Unit.MICROFEN else 1)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value != value.to_integral_value() or abs(value) > Decimal(10) ** 15:
        raise Invalid(field=_("限额"), reason=_("请填写数字；0 表示每次都须另一人审批"))
    return int(value)


def _typed(deed: LimitedDeed, amount: int) -> str:
    """An amount as one would type it."""
    scale = {Unit.FEN: 100, Unit.MICROFEN: MICROFEN_PER_YUAN_KWH}.get(deed.unit, 1)
    text = f"{Decimal(amount) / scale:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def unit_words(deed: LimitedDeed) -> str:
    """What is typed into the form."""
    return {
        Unit.FEN: _("元"), Unit.MICROFEN: _("元/kWh（与原单价相差）"), Unit.ROWS: _("行"), Unit.ACCOUNTS: _("户"),
        Unit.REACH: _("0 = 须两人，1 = 单个项目内可独自办理"),
    }[deed.unit]  # fmt: skip


console.add_app_template_filter(unit_words)
