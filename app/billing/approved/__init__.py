"""Deeds behind the gate: what people may do alone up to a limit, and what a second person's yes carries out.

    a person ──► gated deed ──► gate ──┬─ goes on ──► the use-case
                                       └─ ApprovalNeeded (after a trial run that is rolled back)
    the yes of another ──► carry_out ──► the same gated deed with the request's id ──► redeem ──► the use-case

Each deed says in one `Wish` what it is about to do, computed from the rows as they are at that moment. So the second
person's yes fits only while nothing has changed. The web calls these and never the use-cases behind them
(tests/structure/test_gates.py); processes of the product, which have no limit, call the use-cases themselves.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, FileNotKept, file_of, gated
from app.billing.approved.giving import give_adjustment, give_again, give_refund, give_waiver, take_back
from app.billing.approved.mass import control_again, control_many
from app.billing.approved.opening import ImportTakenAlready, open_property, open_property_again
from app.billing.approved.price import change_price, change_price_again
from app.billing.approved.readings import SeveralProperties, import_readings, import_readings_again
from app.billing.approved.reversal import reverse_again, reverse_sale
from app.billing.approved.role import change_role, change_role_again, edit_role
from app.kernel.actor import Actor
from app.permissions.approval_models import Approval
from app.permissions.approvals import Execute
from app.permissions.models import User

__all__ = [
    "AGAIN", "Desk", "FileNotKept", "ImportTakenAlready", "SeveralProperties", "change_price", "change_role",
    "control_many", "edit_role", "executor", "file_of", "gated", "give_adjustment", "give_refund", "give_waiver",
    "import_readings", "open_property", "reverse_sale", "take_back",
]  # fmt: skip

Again = Callable[[Session, Approval, Actor, Desk], str]
#: Deed → the way back from a request to the gated deed; returns what was made as `<table>:<id>`.
AGAIN: Mapping[str, Again] = MappingProxyType(
    {
        "refund": give_again,
        "waiver": give_again,
        "adjustment": give_again,
        "reversal": reverse_again,
        "mass_control": control_again,
        "price_change": change_price_again,
        "reading_correction": import_readings_again,
        "opening_balance": open_property_again,
        "role_change": change_role_again,
    }
)


def executor(desk: Desk) -> Execute:
    """What `approve` calls when the last needed yes has come: the deed again, as the one who asked."""

    def carry_out(session: Session, row: Approval) -> str:
        asker = session.get_one(User, (row.tenant_id, row.requested_by))
        return AGAIN[row.deed](session, row, Actor.user(asker.id, name=asker.name), desk)

    return carry_out
