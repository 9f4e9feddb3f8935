"""The standard chart of accounts of a book (legal entity × property).

A side says which side increases the account. Kept accounts (one per supply account) carry a balance row and a gapless
version; the others are hot, append-only, and folded per day.
"""

from dataclasses import dataclass

CHANNELS = ("wechat", "alipay", "stripe", "pos")
REVENUE_KINDS = ("electricity", "water", "rent", "service_fee", "other")


@dataclass(frozen=True, slots=True)
class AccountKind:
    """One line of the chart: code, which side increases it, whether its balance is kept, its names."""

    code: str
    side: str
    keeps_balance: bool
    zh: str
    en: str


_HOT = (
    ("cash", "debit", "库存现金", "Cash"),
    ("bank", "debit", "银行存款", "Bank"),
    *((f"clearing:{c}", "debit", f"渠道清算（{c}）", f"Clearing ({c})") for c in CHANNELS),
    ("due_from_headquarters", "debit", "应收总部", "Due from headquarters"),
    ("due_to_headquarters", "credit", "应付总部", "Due to headquarters"),
    *((f"revenue:{k}", "credit", f"收入（{k}）", f"Revenue ({k})") for k in REVENUE_KINDS),
    ("owners_fund", "credit", "业主公共收益", "Owners' fund"),
    ("vat_payable", "credit", "应交增值税", "VAT payable"),
    ("rounding", "credit", "尾差", "Rounding"),
    ("opening", "credit", "期初余额", "Opening balances"),
    ("cash_over_short", "debit", "现金长短款", "Cash over and short"),
    ("waivers", "debit", "减免", "Waivers"),
    ("adjustments", "debit", "调账", "Adjustments"),
)
_KEPT = (
    ("wallet", "credit", "预付余额", "Wallet"),
    ("advance", "credit", "预收款", "Advance"),
    ("deposit", "credit", "押金", "Deposit"),
    ("receivable", "debit", "应收账款", "Receivable"),
)

#: Accounts every book has from the day it is opened.
STANDARD = {code: AccountKind(code, side, False, zh, en) for code, side, zh, en in _HOT}
#: Accounts opened per supply account.
PER_SUPPLY_ACCOUNT = {code: AccountKind(code, side, True, zh, en) for code, side, zh, en in _KEPT}
CHART = STANDARD | PER_SUPPLY_ACCOUNT
