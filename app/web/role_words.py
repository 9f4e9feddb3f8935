"""Roles in words, the ones a form offers, and refusals that name permissions."""

from collections.abc import Iterable
from dataclasses import dataclass

from flask import g

from app.kernel.errors import AppError
from app.permissions.policy import ROLES, SELLING, Grant, Permission, Role, known
from app.permissions.reach import DutiesJoined, RightsBeyondYours
from app.permissions.roles import own_roles
from app.web.permission_words import sentences
from app.web.words import _, listed, locale


@dataclass(frozen=True, slots=True)
class Choice:
    """A role in a form."""

    code: str
    words: str
    own: bool


def role_words() -> dict[Role, str]:
    """Standard roles in words."""
    return {
        Role.PLATFORM_OPERATOR: _("平台运维"),
        Role.GROUP_ADMINISTRATOR: _("集团管理员"),
        Role.GROUP_FINANCE: _("集团财务"),
        Role.GROUP_AUDITOR: _("集团审计"),
        Role.PROPERTY_MANAGER: _("项目经理"),
        Role.PROPERTY_FINANCE: _("项目财务"),
        Role.CASHIER: _("营业员"),
        Role.METER_ENGINEER: _("表计工程师"),
        Role.DUTY_OFFICER: _("值班员"),
        Role.BUILDING_STEWARD: _("楼栋管家"),
        Role.ENERGY_MANAGER: _("能源经理"),
        Role.READ_ONLY: _("只读"),
    }


def grant_words(grant: Grant) -> str:
    """The role of a grant; one that was withdrawn is called so."""
    if grant.own is not None:
        return grant.name
    return role_words()[Role(grant.role)] if grant.role in set(Role) else _("已停用的角色")


def roles_in_words(grants: Iterable[Grant]) -> str:
    """The standard roles among grants in their order, then the group's own by name."""
    words, held = role_words(), list(grants)
    standard = {grant.role for grant in held}
    own = sorted({grant.name for grant in held if grant.own is not None})
    return listed([*(words[role] for role in Role if role in standard), *own])


def roles_to_choose(mine: frozenset[Permission] | None = None) -> list[Choice]:
    """Standard roles and the group's own: all, or those within what the giver holds somewhere and may give."""
    offered = [(role.value, words, ROLES[role], False) for role, words in role_words().items()]
    offered += [(role.code, role.name, known(role.permissions), True) for role in own_roles(g.session)]
    return [Choice(code, words, own) for code, words, holds, own in offered if mine is None or holds - SELLING <= mine]


def refusal_in_words(refused: AppError) -> str:
    """A refusal as a person reads it: permissions by their sentences."""
    if not isinstance(refused, RightsBeyondYours | DutiesJoined):
        return refused.message(locale())
    words = sentences()
    named = [words[p] for p in Permission if p in str(refused.details["permissions"]).split("、")]
    return type(refused)(permissions=("；" if locale() == "zh" else "; ").join(named)).message(locale())
