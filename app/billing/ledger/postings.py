"""What the ledger can be told: postings with two ends, entries made of them, and the hash that pins each.

entry hash = SHA-256(canonical JSON of everything the entry says); `app.tenants.chain` chains them into blocks
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from types import MappingProxyType

from app.kernel.errors import AppError

HASH_VERSION = 1
#: PostgreSQL's bigint, with room to sum: ninety thousand billion yuan.
AMOUNT_FEN_MAX = 9_000_000_000_000_000
REVERSAL = "reversal"


class PostingAmountNotWhole(AppError):
    """The amount is not a whole number of fen."""

    code, status = "posting_amount_not_whole", 422
    message_zh = "分录金额必须是整数（分）。请检查计算来源。"
    message_en = "A posting's amount must be a whole number of fen. Check where it was computed."


class PostingAmountNotPositive(AppError):
    """Zero or less: a posting's direction is said by its two ends, never by a sign."""

    code, status = "posting_amount_not_positive", 422
    message_zh = "分录金额必须大于零。反方向请交换借贷科目。"
    message_en = "A posting's amount must be above zero. For the other direction swap debit and credit."


class PostingAmountTooLarge(AppError):
    """Beyond what the ledger can add up."""

    code, status = "posting_amount_too_large", 422
    message_zh = "分录金额超出账簿可记范围，请核对金额。"
    message_en = "The amount is beyond what the ledger can hold. Check it."


class PostingToItself(AppError):
    """Debit and credit are the same ledger account."""

    code, status = "posting_to_itself", 422
    message_zh = "借方与贷方不能是同一会计科目。请改选其中一个。"
    message_en = "Debit and credit cannot be the same ledger account. Change one of them."


class EntryKeyMissing(AppError):
    """No idempotency key: a retry could not be told from a second entry."""

    code, status = "entry_key_missing", 422
    message_zh = "缺少幂等键，无法防止重复记账。请为该笔操作提供唯一编号。"
    message_en = "The idempotency key is missing. Give the deed a number of its own."


class EntryEmpty(AppError):
    """An entry without postings says nothing."""

    code, status = "entry_empty", 422
    message_zh = "凭证没有分录。请至少填写一行。"
    message_en = "The entry has no postings. Give at least one."


class EntryCurrencyUnknown(AppError):
    """Not a currency code of three capital letters."""

    code, status = "entry_currency_unknown", 422
    message_zh = "币种代码“{currency}”无效。请使用三位大写代码，例如 CNY。"
    message_en = "“{currency}” is not a currency code. Use three capital letters, such as CNY."


class EntryInstantNaive(AppError):
    """`event_at` has no time zone: nobody can say when that was."""

    code, status = "entry_instant_naive", 422
    message_zh = "业务发生时间缺少时区。请提供带时区的时间。"
    message_en = "The time of the event has no time zone. Give one."


class HashVersionUnknown(AppError):
    """A row was hashed by a newer version of this program."""

    code, status = "hash_version_unknown", 500
    message_zh = "凭证校验版本 {version} 无法识别。请用更新版本的程序校验。"
    message_en = "Hash version {version} is unknown here. Verify with a newer version of the program."


@dataclass(frozen=True, slots=True)
class Posting:
    """A sum moving from the credited to the debited ledger account: it cannot fail to balance.

    Raises, in this order: PostingAmountNotWhole, PostingAmountNotPositive, PostingAmountTooLarge,
    PostingToItself.
    """

    #: Id of the ledger account debited.
    debit: int
    #: Id of the ledger account credited.
    credit: int
    amount_fen: int
    memo: str = ""

    def __post_init__(self) -> None:
        if type(self.amount_fen) is not int:
            raise PostingAmountNotWhole()
        if self.amount_fen <= 0:
            raise PostingAmountNotPositive()
        if self.amount_fen > AMOUNT_FEN_MAX:
            raise PostingAmountTooLarge()
        if self.debit == self.credit:
            raise PostingToItself()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDraft:
    """An entry about to be written: everything it will ever say.

    Raises, in this order: EntryKeyMissing, EntryCurrencyUnknown, EntryInstantNaive, EntryEmpty.
    """

    book_id: int
    #: What happened: `top_up`, `day_close`, `reversal` …
    kind: str
    #: The accounting day, in the property's time zone.
    booked_on: date
    #: When it really happened; may lie in a month already closed.
    event_at: datetime
    currency: str
    postings: tuple[Posting, ...]
    idempotency_key: str
    #: Who did it: `user:<id>` or `system:<process>`.
    actor: str
    #: Number of the receipt, bill or notice behind it, if any.
    document: str | None = None
    #: Id of the entry this one undoes, if any.
    reverses: int | None = None

    def __post_init__(self) -> None:
        if not self.idempotency_key.strip():
            raise EntryKeyMissing()
        if not (len(self.currency) == 3 and self.currency.isascii() and self.currency.isupper()):
            raise EntryCurrencyUnknown(currency=self.currency)
        if self.event_at.utcoffset() is None:
            raise EntryInstantNaive()
        if not self.postings:
            raise EntryEmpty()


def fingerprint(draft: EntryDraft) -> str:
    """What was asked, as 64 hex digits: the same key with another fingerprint is another request.

    Dates, the actor and the receipt number stay out: a retry after midnight, or by the worker that took over,
    asks for the same thing.
    """
    asked = {
        "book": draft.book_id,
        "currency": draft.currency,
        "kind": draft.kind,
        "postings": _lines(draft.postings),
        "reverses": draft.reverses,
    }
    return hashlib.sha256(_canonical(asked)).hexdigest()


def row_hash(tenant_id: int, draft: EntryDraft, version: int = HASH_VERSION) -> bytes:
    """The 32 bytes that pin a stored entry. Rebuild the draft from the rows and compare.

    Postings are in line order; the idempotency key stands for the row's identity. Raises HashVersionUnknown.
    """
    if version not in _SAYINGS:
        raise HashVersionUnknown(version=version)
    return hashlib.sha256(_canonical(_SAYINGS[version](tenant_id, draft))).digest()


def reverse(
    draft: EntryDraft,
    *,
    entry_id: int,
    idempotency_key: str,
    booked_on: date,
    event_at: datetime,
    actor: str,
    document: str | None = None,
) -> EntryDraft:
    """The entry that undoes the stored entry `entry_id`: the same postings with their ends swapped."""
    swapped = tuple(replace(line, debit=line.credit, credit=line.debit) for line in draft.postings)
    return EntryDraft(
        book_id=draft.book_id,
        kind=REVERSAL,
        booked_on=booked_on,
        event_at=event_at,
        currency=draft.currency,
        postings=swapped,
        idempotency_key=idempotency_key,
        actor=actor,
        document=document,
        reverses=entry_id,
    )


def nets(postings: Iterable[Posting]) -> dict[int, int]:
    """What each ledger account gains, in fen, credit positive. The values always sum to zero."""
    gained: dict[int, int] = {}
    for line in postings:
        gained[line.credit] = gained.get(line.credit, 0) + line.amount_fen
        gained[line.debit] = gained.get(line.debit, 0) - line.amount_fen
    return gained


def _lines(postings: Iterable[Posting]) -> list[list[object]]:
    return [[line.debit, line.credit, line.amount_fen, line.memo] for line in postings]


def _canonical(said: Mapping[str, object]) -> bytes:
    """One spelling for one meaning: sorted keys, no spaces, real characters."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _say_1(tenant_id: int, draft: EntryDraft) -> dict[str, object]:
    return {
        "actor": draft.actor,
        "book": draft.book_id,
        "booked_on": draft.booked_on.isoformat(),
        "currency": draft.currency,
        "document": draft.document,
        "event_at": draft.event_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "key": draft.idempotency_key,
        "kind": draft.kind,
        "postings": _lines(draft.postings),
        "reverses": draft.reverses,
        "tenant": tenant_id,
    }


#: How each hash version reads an entry. A version, once used, is never changed.
_SAYINGS: Mapping[int, Callable[[int, EntryDraft], dict[str, object]]] = MappingProxyType({1: _say_1})
