"""Refund, waiver and adjustment in front of their limits; undoing one of them counts as an adjustment."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, gated, users_of
from app.billing.giving_back import make_adjustment, make_refund, make_waiver, undo_giving
from app.billing.giving_models import MoneyGiven
from app.billing.ledger.service import Posted
from app.billing.models import SupplyAccount
from app.kernel.actor import Actor
from app.permissions.approval_models import Approval
from app.permissions.approvals import Wish
from app.tenants.access import or_not_found


def give_refund(
    session: Session,
    *,
    account: SupplyAccount,
    amount_fen: int,
    way: str,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> MoneyGiven:
    """Give prepaid money back. Raises as `gated` and `make_refund`."""
    return gated(
        session,
        wish=_wish("refund", account, amount_fen, way),
        by=actor,
        approval_id=approval_id,
        deed=lambda: make_refund(
            session, account=account, amount_fen=amount_fen, way=way, reason=reason, actor=actor,
            idempotency_key=idempotency_key, approval_id=approval_id,
        ),
    )  # fmt: skip


def give_waiver(
    session: Session,
    *,
    account: SupplyAccount,
    amount_fen: int,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> MoneyGiven:
    """Give up what is owed. Raises as `gated` and `make_waiver`."""
    return gated(
        session,
        wish=_wish("waiver", account, amount_fen, ""),
        by=actor,
        approval_id=approval_id,
        deed=lambda: make_waiver(
            session, account=account, amount_fen=amount_fen, reason=reason, actor=actor,
            idempotency_key=idempotency_key, approval_id=approval_id,
        ),
    )  # fmt: skip


def give_adjustment(
    session: Session,
    *,
    account: SupplyAccount,
    amount_fen: int,
    code: str,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> MoneyGiven:
    """Put a wallet right, up or down; down counts like up. Raises as `gated` and `make_adjustment`."""
    return gated(
        session,
        wish=_wish("adjustment", account, amount_fen, code),
        by=actor,
        approval_id=approval_id,
        deed=lambda: make_adjustment(
            session, account=account, amount_fen=amount_fen, code=code, reason=reason, actor=actor,
            idempotency_key=idempotency_key, approval_id=approval_id,
        ),
    )  # fmt: skip


def take_back(
    session: Session,
    *,
    given: MoneyGiven,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> Posted:
    """Undo what was given; who gave it neither undoes nor decides. Raises as `gated` and `undo_giving`."""
    wish = Wish(
        "adjustment",
        given.property_id,
        f"money_given:{given.id}",
        abs(given.amount_fen),
        {"undo_id": given.id, "kind": given.kind, "amount_fen": given.amount_fen}
        | {"supply_account_id": given.supply_account_id, "code": given.code},
        concerned=users_of(given.actor),
    )
    return gated(
        session,
        wish=wish,
        by=actor,
        approval_id=approval_id,
        deed=lambda: undo_giving(
            session, given=given, reason=reason, actor=actor, idempotency_key=idempotency_key, approval_id=approval_id
        ),
    )


def _wish(deed: str, account: SupplyAccount, amount_fen: int, code: str) -> Wish:
    # Not the balance: it falls with every reading, and a yes must not go stale by a quarter of an hour's usage. That
    # it still suffices is checked again when the deed is carried out.
    content = {"supply_account_id": account.id, "kind": deed, "amount_fen": amount_fen, "code": code}
    return Wish(deed, account.property_id, f"supply_accounts:{account.id}", abs(amount_fen), content)


def give_again(session: Session, row: Approval, by: Actor, _desk: Desk) -> str:
    """Carry a request out."""
    said, key = row.content, f"approval:{row.id}"
    if "undo_id" in said:
        given = or_not_found(session.get(MoneyGiven, (row.tenant_id, said["undo_id"])))
        posted = take_back(
            session, given=given, reason=row.reason, actor=by, idempotency_key=key, approval_id=row.id
        )  # fmt: skip
        return f"ledger_entries:{posted.entry_id}"
    account = or_not_found(session.get(SupplyAccount, (row.tenant_id, said["supply_account_id"])))
    name = _CODE_NAMES[row.deed]
    more = {name: said["code"]} if name else {}
    made = _GIVE[row.deed](
        session, account=account, amount_fen=said["amount_fen"], reason=row.reason, actor=by, idempotency_key=key,
        approval_id=row.id, **more,
    )  # fmt: skip
    return f"money_given:{made.id}"


_GIVE: Mapping[str, Callable[..., MoneyGiven]] = MappingProxyType(
    {"refund": give_refund, "waiver": give_waiver, "adjustment": give_adjustment}
)
_CODE_NAMES: Mapping[str, str] = MappingProxyType({"refund": "way", "waiver": "", "adjustment": "code"})
