"""Deeds under limits: what one person may do alone up to an amount, and what waits for a second one. Pure.

A limit stands at a node for a role and holds below it unless a nearer node says otherwise; where nothing was said the
defaults of the standard role count, which are made for a property of some hundred homes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from app.kernel.errors import AppError
from app.permissions.policy import Permission, Role
from app.tenants.tree import Tree

P, R = Permission, Role

#: (node, role or code of an own role, deed) → the largest amount that the role may do alone there and below.
Limits = Mapping[tuple[int, str, str], int]


class Unit(StrEnum):
    """What a deed's amount counts."""

    FEN = "fen"
    #: Of a price per watt-hour: 100,000 are one yuan per kWh.
    MICROFEN = "microfen"
    ROWS = "rows"
    ACCOUNTS = "accounts"
    #: How far a right reaches: see REACH_*.
    REACH = "reach"


#: A role at a property; one at a region or headquarters; one's own roles, which nobody changes alone.
REACH_PROPERTY, REACH_ABOVE, REACH_OWN = 1, 2, 3
#: The largest limit that can be set of a reach: a role above properties and one's own always need another person.
REACH_MAX = REACH_PROPERTY


class DeedNotKnown(AppError):
    """No deed of this name stands under limits."""

    code, status = "deed_not_known", 422
    message_zh = "没有名为“{deed}”的限额事项。请从列表中选择。"
    message_en = "Nothing named “{deed}” stands under limits. Choose from the list."


@dataclass(frozen=True, slots=True)
class LimitedDeed:
    """A deed: what its amount counts, who does it, who decides on it, and how much each standard role may do alone."""

    name: str
    unit: Unit
    #: Needed to do it, and to ask for it.
    permission: Permission
    #: Needed to say yes or no to a request.
    decide: Permission
    words_zh: str
    words_en: str
    #: Standard role → amount it may do alone; a role that is not named may do nothing alone.
    alone: Mapping[Role, int] = field(default_factory=dict)
    #: How many other persons must say yes.
    persons: int = 1
    #: A request never waits longer than this, whatever the tenant's policy says.
    waits_max: timedelta | None = None
    #: Where nobody else could decide it is done alone: otherwise a group with one administrator stayed so forever.
    alone_without_others: bool = False


def _deed(
    name: str, unit: Unit, who: tuple[Permission, Permission], words: tuple[str, str], **more: object
) -> LimitedDeed:
    return LimitedDeed(name, unit, *who, *words, **more)  # type: ignore[arg-type]


def _alone(*, administrator: int, manager: int, **others: int) -> Mapping[Role, int]:
    shares = {R.GROUP_ADMINISTRATOR: administrator, R.PROPERTY_MANAGER: manager}
    return MappingProxyType(shares | {R(role): amount for role, amount in others.items()})


_TABLE = (
    _deed("refund", Unit.FEN, (P.MONEY_REFUND_GIVE, P.APPROVAL_MONEY_DECIDE), ("退款", "Refund"),
          alone=_alone(administrator=200_000, manager=20_000, group_finance=200_000, property_finance=50_000)),
    _deed("reversal", Unit.FEN, (P.MONEY_TOPUP_REVERSE, P.APPROVAL_MONEY_DECIDE), ("冲正充值", "Reversal of a top-up"),
          alone=_alone(administrator=500_000, manager=50_000, group_finance=500_000, property_finance=50_000)),
    _deed("waiver", Unit.FEN, (P.MONEY_WAIVER_GIVE, P.APPROVAL_MONEY_DECIDE), ("减免", "Waiver"),
          alone=_alone(administrator=100_000, manager=10_000, group_finance=100_000, property_finance=10_000)),
    _deed("adjustment", Unit.FEN, (P.MONEY_ADJUSTMENT_MAKE, P.APPROVAL_MONEY_DECIDE), ("调账", "Adjustment"),
          alone=_alone(administrator=100_000, manager=10_000, group_finance=100_000, property_finance=10_000)),
    _deed("price_change", Unit.MICROFEN, (P.PLAN_PRICE_PUBLISH, P.APPROVAL_PRICE_DECIDE), ("调价", "Price change"),
          alone=_alone(administrator=1_000_000, manager=10_000, group_finance=30_000)),
    _deed("reading_correction", Unit.ROWS, (P.READING_IMPORT_LOAD, P.APPROVAL_METER_DECIDE),
          ("手工读数", "Readings by hand"),
          alone=_alone(administrator=5_000, manager=1_000, meter_engineer=200)),
    # NISTIR 7628 and NESCOR AMI.1: an insider who switches many is the first scenario; such a list ages in minutes.
    _deed("mass_control", Unit.ACCOUNTS, (P.METER_COMMAND_MASS, P.APPROVAL_METER_DECIDE),
          ("批量停送电", "Switching many supplies"),
          alone=_alone(administrator=20, manager=5), waits_max=timedelta(minutes=15)),
    _deed("opening_balance", Unit.FEN, (P.ONBOARDING_IMPORT_COMMIT, P.APPROVAL_MONEY_DECIDE),
          ("期初余额", "Opening balances"),
          alone=_alone(administrator=10_000_000, manager=2_000_000)),
    _deed("role_change", Unit.REACH, (P.USER_GRANT_EDIT, P.APPROVAL_RIGHT_DECIDE), ("授权变更", "Change of a role"),
          alone=_alone(administrator=REACH_PROPERTY, manager=REACH_PROPERTY), alone_without_others=True),
)  # fmt: skip

DEEDS: Mapping[str, LimitedDeed] = MappingProxyType({deed.name: deed for deed in _TABLE})


@dataclass(frozen=True, slots=True)
class HeldRole:
    """A role somebody holds at a node: by its name or code, with its permissions and the standard role behind it."""

    role: str
    node_id: int
    permissions: frozenset[Permission]
    standard: Role | None

    def covers(self, permission: Permission, path: Iterable[int]) -> bool:
        """Whether it gives the permission at the end of a path from the root."""
        return permission in self.permissions and self.node_id in path


def deed_named(name: str) -> LimitedDeed:
    """The deed of this name. Raises DeedNotKnown."""
    if name not in DEEDS:
        raise DeedNotKnown(deed=name)
    return DEEDS[name]


def limit_of(held: Iterable[HeldRole], tree: Tree, limits: Limits, deed: LimitedDeed, node_id: int) -> int | None:
    """The largest amount a person may do alone at a node, over the roles through which they may do it there at all.

    None when no role lets them. Raises NodeUnknown.
    """
    path = tree.path(node_id)
    roles = [each for each in held if each.covers(deed.permission, path)]
    return max((limit_at(each.role, each.standard, path, limits, deed) for each in roles), default=None)


def limit_at(role: str, standard: Role | None, path: tuple[int, ...], limits: Limits, deed: LimitedDeed) -> int:
    """What a role may do alone at the end of a path from the root: the nearest setting, else the default."""
    for node_id in reversed(path):
        if (node_id, role, deed.name) in limits:
            return limits[node_id, role, deed.name]
    return deed.alone.get(standard, 0) if standard is not None else 0


def needs_second(amount: int, limit: int | None) -> bool:
    """Whether an amount waits for another person; up to the limit and including it one does it alone."""
    return amount > (limit or 0)


#: State → states it may go to; what does not stand on the left is final.
MOVES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "waiting": frozenset({"approved", "refused", "withdrawn", "expired"}),
        "approved": frozenset({"done", "failed", "withdrawn", "expired"}),
    }
)


def may_move(before: str, after: str) -> bool:
    """Whether a request in one state may go to another."""
    return after in MOVES.get(before, frozenset())
