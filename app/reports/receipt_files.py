"""Receipts as PDF files: where they are and what they say. The worker makes an original and a copy of each."""

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from app.kernel.text import translator
from app.reports.rmb import capital_yuan


def receipt_path(folder: Path, tenant_id: int, public_id: str, *, is_copy: bool) -> Path:
    """Where the PDF of a receipt is, or will be."""
    name = f"{public_id}{'-copy' if is_copy else ''}.pdf"
    return folder / "receipts" / str(tenant_id) / public_id[-2:] / name


def receipt_words(content: dict[str, Any], *, number: str, is_copy: bool, locale: str) -> dict[str, Any]:
    """What the template of a receipt needs, from the content frozen at issue."""
    received = datetime.fromisoformat(content["received_at"]).astimezone(ZoneInfo(content["time_zone"]))
    return {
        "lang": "zh-CN" if locale == "zh" else "en",
        "content": content,
        "number": number,
        "is_copy": is_copy,
        "capital": capital_yuan(content["amount_fen"]),
        "received_at": f"{received:%Y-%m-%d %H:%M}",
        "channel": channel_words(content["channel"], locale),
    }


def channel_words(channel: str, locale: str) -> str:
    """How the money came in, in words."""
    say = translator(locale)
    words = {
        "cash": say("现金"), "bank": say("银行转账"), "pos": say("刷卡 POS"), "wechat": say("微信支付"),
        "alipay": say("支付宝"), "stripe": "Stripe",
    }  # fmt: skip
    return words.get(channel, channel)
