"""Money given back or away at a supply account: refund 退款, waiver 减免, adjustment 调账. One entry and one paper each.

Before anything is given, what was used so far is posted: what is left is then what the ledger says, under lock.

    post the accrual → entry (floor 0 where the wallet is drawn) → paper with its number → audit

People come through `billing.approved`; each deed happens once per key, and is undone by a reversal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.alarms import raise_levels, settle_level, tell_levels
from app.billing.day_close import post_accrual_now
from app.billing.giving_models import MoneyGiven
from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.books import open_standard
from app.billing.ledger.series import next_number
from app.billing.ledger.service import Posted, post_entry, reverse_entry
from app.billing.models import SupplyAccount
from app.billing.payments.payee import Payee, read_aftermath, read_payee
from app.billing.wallets import find_wallet
from app.kernel.actor import Actor
from app.kernel.clock import business_now, local_day
from app.kernel.errors import AppError
from app.kernel.idempotency import KeyReused, fingerprint
from app.kernel.money import CNY, INPUT_FEN_MAX, format_yuan
from app.meters.commands import revoke_permits
from app.tenants.audit import record
from app.tenants.phones import mask_name

REASON_LENGTH_MAX = 200
#: How a refund leaves, and the reasons an adjustment may have.
WAYS = ("cash", "bank")
CODES = ("misposted", "meter", "price", "goodwill", "other")
#: Kind → deed in the audit log, and the letters before the number of its paper.
DEEDS: Mapping[str, str] = MappingProxyType(
    {"refund": "money:refund:give", "waiver": "money:waiver:give", "adjustment": "money:adjustment:make"}
)
UNDO_DEEDS: Mapping[str, str] = MappingProxyType(
    {"refund": "money:refund:undo", "waiver": "money:waiver:undo", "adjustment": "money:adjustment:undo"}
)
LETTERS: Mapping[str, str] = MappingProxyType({"refund": "TK", "waiver": "JM", "adjustment": "TZ"})


class GivingAmountWrong(AppError):
    """Nothing, less than nothing, or beyond what anybody is given."""

    code, status = "giving_amount_wrong", 422
    message_zh = "金额须大于 0 且不超过 {most}。请核对后重新输入。"
    message_en = "The amount is above zero and at most {most}. Check it."


class GivingReasonMissing(AppError):
    """Money does not leave without a reason."""

    code, status = "giving_reason_missing", 422
    message_zh = "请写明原因，最多 200 个字。"
    message_en = "Say why, in at most 200 characters."


class GivingCodeUnknown(AppError):
    """Neither a way of refunding nor a reason code."""

    code, status = "giving_code_unknown", 422
    message_zh = "请从列表中选择退款方式或调账类别。"
    message_en = "Choose the way of the refund, or the kind of adjustment, from the list."


class WaiverTooLarge(AppError):
    """More than is owed: that would be a present, not a waiver."""

    code, status = "waiver_too_large", 409
    message_zh = "该户目前欠 {owed}，减免不能超过欠费。请减少金额。"
    message_en = "This account owes {owed}; no more than that can be waived. Enter less."


class OwnGivingUndone(AppError):
    """Who gave does not take back."""

    code, status = "own_giving_undone", 403
    message_zh = "不能冲正自己办理的退款、减免或调账。请由另一位有权限的操作员办理。"
    message_en = "Nobody undoes what they gave themselves. Ask another operator who holds the permission."


@dataclass(frozen=True, slots=True)
class Giving:
    """What is asked for: `amount_fen` as the wallet's owner sees it, signed only for an adjustment."""

    kind: str
    amount_fen: int
    #: Way of a refund, reason code of an adjustment.
    code: str
    reason: str
    actor: Actor
    idempotency_key: str
    approval_id: int | None = None

    def __post_init__(self) -> None:
        known = {"refund": WAYS, "adjustment": CODES}.get(self.kind, ("",))
        if not 0 < abs(self.amount_fen) <= INPUT_FEN_MAX or (self.amount_fen < 0 and self.kind != "adjustment"):
            raise GivingAmountWrong(most=format_yuan(INPUT_FEN_MAX))
        if self.code not in known:
            raise GivingCodeUnknown()
        if not 0 < len(self.reason.strip()) <= REASON_LENGTH_MAX:
            raise GivingReasonMissing()

    @property
    def wallet_change_fen(self) -> int:
        """What it does to the wallet."""
        return -self.amount_fen if self.kind == "refund" else self.amount_fen

    @property
    def ledger_code(self) -> str:
        """The account at the other end."""
        return {"refund": self.code, "waiver": "waivers"}.get(self.kind, "adjustments")


def make_refund(
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
    """Give prepaid money back, never more than is available once all usage is posted. Once per key.

    Raises GivingAmountWrong, GivingCodeUnknown, GivingReasonMissing, WalletTooLow, KeyReused, PeriodClosed.
    """
    giving = Giving("refund", amount_fen, way, reason, actor, idempotency_key, approval_id)
    return _give(session, account, giving)


def make_waiver(
    session: Session,
    *,
    account: SupplyAccount,
    amount_fen: int,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> MoneyGiven:
    """Give up what a wallet owes past zero, never more than that. Once per key.

    Raises GivingAmountWrong, GivingReasonMissing, WaiverTooLarge, KeyReused, PeriodClosed.
    """
    giving = Giving("waiver", amount_fen, "", reason, actor, idempotency_key, approval_id)
    return _give(session, account, giving)


def make_adjustment(
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
    """Put a wallet right, up (above zero) or down (below), down never past what is available. Once per key.

    Raises GivingAmountWrong, GivingCodeUnknown, GivingReasonMissing, WalletTooLow, KeyReused, PeriodClosed.
    """
    giving = Giving("adjustment", amount_fen, code, reason, actor, idempotency_key, approval_id)
    return _give(session, account, giving)


def undo_giving(
    session: Session,
    *,
    given: MoneyGiven,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> Posted:
    """Reverse a refund, a waiver or an adjustment; its paper keeps its number. Once per key.

    No floor guards it: what was given by mistake leaves the books even when it was used meanwhile.
    Raises OwnGivingUndone, GivingReasonMissing, AlreadyReversed, PeriodClosed.
    """
    if given.actor == str(actor):
        raise OwnGivingUndone()
    if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX:
        raise GivingReasonMissing()
    account = session.get_one(SupplyAccount, (given.tenant_id, given.supply_account_id))
    payee = _payee(session, account, _code_of(given))
    now = business_now()
    posted = reverse_entry(
        session,
        entry_id=given.entry_id,
        idempotency_key=f"undo_giving:{idempotency_key}",
        booked_on=local_day(now, payee.time_zone),
        event_at=now,
        actor=str(actor),
        document=f"money_given:{given.id}",
    )
    if not posted.replayed:
        change = given.amount_fen if given.kind == "refund" else -given.amount_fen
        left_fen = _after(session, account, payee, change, local_day(now, payee.time_zone))
        facts = {"amount_fen": given.amount_fen, "entry_id": posted.entry_id, "supply_account_id": account.id}
        record(
            session, deed=UNDO_DEEDS[given.kind], subject=f"money_given:{given.id}",
            actor=actor, property_id=account.property_id, before={"available_fen": left_fen - change},
            after={"available_fen": left_fen}, reason=reason, approval_id=approval_id, facts=facts,
        )  # fmt: skip
    return posted


def paper_number(kind: str, number: int) -> str:
    """How the number of a paper is written: `TK-000042`."""
    return f"{LETTERS[kind]}-{number:06d}"


def _give(session: Session, account: SupplyAccount, giving: Giving) -> MoneyGiven:
    now = business_now()
    payee = _payee(session, account, giving.ledger_code)
    today = local_day(now, payee.time_zone)
    # Also takes the wallet's lock: two clicks at once meet here, and the second finds what the first has done.
    post_accrual_now(session, supply_account_id=account.id, wallet_id=payee.wallet_id, today=today)
    mark = fingerprint(kind=giving.kind, account=account.id, amount=giving.amount_fen, code=giving.code)
    known = session.scalar(select(MoneyGiven).where(MoneyGiven.idempotency_key == giving.idempotency_key))
    if known is not None:
        if known.fingerprint != mark:
            raise KeyReused()
        return known
    if giving.kind == "waiver":
        _refuse_present(session, account, giving.amount_fen)
    floors = {payee.wallet_id: 0} if giving.wallet_change_fen < 0 else None
    posted = post_entry(session, _draft(account, giving, payee, now, today), floors=floors)
    left_fen = _after(session, account, payee, giving.wallet_change_fen, today)
    return _write(session, account, giving, payee, posted, left_fen, now, today, mark)


def _refuse_present(session: Session, account: SupplyAccount, amount_fen: int) -> None:
    owed_fen = max(-find_wallet(session, supply_account_id=account.id).available_fen, 0)
    if amount_fen > owed_fen:
        raise WaiverTooLarge(owed=format_yuan(owed_fen))


def _payee(session: Session, account: SupplyAccount, code: str) -> Payee:
    open_standard(session, book_id=account.book_id, code=code)
    return read_payee(session, supply_account_id=account.id, ledger_code=code)


def _code_of(given: MoneyGiven) -> str:
    return {"refund": given.code, "waiver": "waivers"}.get(given.kind, "adjustments")


def _draft(account: SupplyAccount, giving: Giving, payee: Payee, now: datetime, today: date) -> EntryDraft:
    drawn = giving.wallet_change_fen < 0
    debit, credit = (payee.wallet_id, payee.debit_id) if drawn else (payee.debit_id, payee.wallet_id)
    return EntryDraft(
        book_id=account.book_id,
        kind=giving.kind,
        booked_on=today,
        event_at=now,
        currency=CNY,
        postings=(Posting(debit=debit, credit=credit, amount_fen=abs(giving.amount_fen)),),
        idempotency_key=f"{giving.kind}:{giving.idempotency_key}",
        actor=str(giving.actor),
        document=f"{giving.kind}:{account.id}",
    )


def _after(session: Session, account: SupplyAccount, payee: Payee, change_fen: int, today: date) -> int:
    """Bring levels and trips to where the wallet stands now; returns what is available."""
    left = read_aftermath(session, supply_account_id=account.id, wallet_id=payee.wallet_id, today=today)
    if change_fen < 0:
        raise_levels(session, property_id=account.property_id, available_fen={account.id: left.available_fen})
        return left.available_fen
    if left.threatened:
        revoke_permits(session, meter_ids=left.meter_ids, reason="credit")
    settle_level(session, left.standing)
    tell_levels(session, [account.id])
    return left.available_fen


def _write(
    session: Session,
    account: SupplyAccount,
    giving: Giving,
    payee: Payee,
    posted: Posted,
    left_fen: int,
    now: datetime,
    today: date,
    mark: bytes,
) -> MoneyGiven:
    given = MoneyGiven(
        property_id=account.property_id,
        book_id=account.book_id,
        supply_account_id=account.id,
        kind=giving.kind,
        amount_fen=giving.amount_fen,
        code=giving.code,
        reason=giving.reason.strip(),
        # The number last: its row stays locked until commit.
        number=next_number(session, book_id=account.book_id, till=giving.kind),
        entry_id=posted.entry_id,
        given_on=today,
        given_at=now,
        actor=str(giving.actor),
        approval_id=giving.approval_id,
        content=_content(account, giving, payee, left_fen),
        idempotency_key=giving.idempotency_key,
        fingerprint=mark,
    )
    session.add(given)
    session.flush()  # allow: flush - the audit log and the page name the paper by its id
    _note(session, given, giving, left_fen)
    return given


def _content(account: SupplyAccount, giving: Giving, payee: Payee, left_fen: int) -> dict[str, Any]:
    return {
        "property": payee.property_name,
        "legal_entity": payee.legal_entity,
        "tax_number": payee.tax_number,
        "account_number": account.number,
        "building": payee.building,
        "space": payee.space,
        "party": mask_name(payee.party),
        "available_before_fen": left_fen - giving.wallet_change_fen,
        "available_after_fen": left_fen,
        "given_by": giving.actor.name,
    }


def _note(session: Session, given: MoneyGiven, giving: Giving, left_fen: int) -> None:
    record(
        session,
        deed=DEEDS[given.kind],
        subject=f"money_given:{given.id}",
        actor=giving.actor,
        property_id=given.property_id,
        before={"available_fen": left_fen - giving.wallet_change_fen},
        after={"available_fen": left_fen},
        reason=given.reason,
        approval_id=giving.approval_id,
        facts={"amount_fen": given.amount_fen, "code": given.code, "supply_account_id": given.supply_account_id},
    )
