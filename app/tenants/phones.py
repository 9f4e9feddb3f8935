"""Phone numbers, ID numbers, bank accounts and names: one spelling for storing and searching, and how much of them a
screen shows.
"""

import re
import unicodedata

from app.kernel.errors import AppError

_MOBILE = re.compile(r"1[3-9]\d{9}")
_LANDLINE = re.compile(r"0\d{9,11}")
_ABROAD = re.compile(r"\+[1-9]\d{6,14}")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)


#: What stands where a name stood that was erased on request.
ERASED_NAME = "已删除"


class PhoneUnreadable(AppError):
    """Neither a mainland mobile, a landline with its area code, nor an international number with its plus."""

    code, status = "phone_unreadable", 422
    message_zh = "手机号不正确。请填写 11 位手机号、带区号的座机号，或以 + 开头的国际号码。"
    message_en = "This is no phone number: give 11 digits of a mobile, a landline with area code, or +country number."


class IdNumberWrong(AppError):
    """An ID or credit code of the wrong length, or whose check digit does not fit."""

    code, status = "id_number_wrong", 422
    message_zh = "证件号不正确（位数或校验码不符）。请按身份证或营业执照核对。"
    message_en = "The ID number is wrong (length or check digit). Compare it with the ID card or business licence."


class BankAccountWrong(AppError):
    """Not the shape of a bank account or card."""

    code, status = "bank_account_wrong", 422
    message_zh = "银行账号不正确。请填写 8 至 30 位数字，可以含空格或短横线。"
    message_en = "This is no bank account: give 8 to 30 digits, with spaces or hyphens if you like."


def normalise_phone(text: str) -> str:
    """`+8613812345678` from "138 1234 5678", "+86-138…", full-width digits. Raises PhoneUnreadable."""
    plain = re.sub(r"[\s()（）.-]", "", unicodedata.normalize("NFKC", text))
    if not plain.isascii():
        raise PhoneUnreadable()
    plain = "+" + plain[2:] if plain.startswith("00") else plain
    home = plain.removeprefix("+86")
    if _MOBILE.fullmatch(home) or _LANDLINE.fullmatch(home):
        return "+86" + home
    if _ABROAD.fullmatch(plain) and not plain.startswith("+86"):
        return plain
    raise PhoneUnreadable()


def last_four(number: str) -> str:
    """The last four characters, by which a counter finds a customer."""
    return number[-4:]


def normalise_id_number(text: str) -> str:
    """An 18-character resident ID or unified social credit code, check digit verified.

    Raises IdNumberWrong.
    """
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", text)).upper()
    if plain.isascii() and (_is_resident_id(plain) or _is_credit_code(plain)):
        return plain
    raise IdNumberWrong()


def _is_resident_id(plain: str) -> bool:
    """GB 11643: seventeen digits weighted, modulo 11."""
    if not re.fullmatch(r"\d{17}[\dX]", plain):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(plain, _WEIGHTS, strict=False))
    return _CHECK[total % 11] == plain[17]


def _is_credit_code(plain: str) -> bool:
    """GB 32100: seventeen characters of a 31-letter alphabet weighted, modulo 31."""
    if len(plain) != 18 or any(letter not in _CREDIT_ALPHABET for letter in plain):
        return False
    total = sum(_CREDIT_ALPHABET.index(letter) * weight for letter, weight in zip(plain, _CREDIT_WEIGHTS, strict=False))
    return _CREDIT_ALPHABET[(31 - total % 31) % 31] == plain[17]


def normalise_bank_account(text: str) -> str:
    """The digits of an account or card: "6222 0212 3456 7890 123", full-width digits. Raises BankAccountWrong."""
    plain = re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", text))
    if not re.fullmatch(r"[0-9]{8,30}", plain):
        raise BankAccountWrong()
    return plain


def looks_mistyped(account: str) -> bool:
    """Whether the digits are as long as a UnionPay card and begin like one, and their check digit does not fit.

    A hint, never a refusal: accounts of companies look like cards now and then.
    """
    return bool(re.fullmatch(r"62\d{14,17}", account)) and not _fits_luhn(account)


def _fits_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: every second digit from the right counts double."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def mask_tail(number: str) -> str:
    """`****1234`: the last four characters of an ID number or a bank account."""
    return "****" + last_four(number)


def mask_phone(number: str) -> str:
    """`138****5678`: first three and last four digits of a home number; of others only the last four."""
    home = number.removeprefix("+86")
    if _MOBILE.fullmatch(home):
        return f"{home[:3]}****{home[-4:]}"
    return "****" + last_four(number)


def mask_name(name: str, *, kind: str = "person") -> str:
    """`王*`, `欧阳**`: a person's family name stays (the first character, two of a longer name's); a company
    stays whole.
    """
    if kind == "company" or name in ("", ERASED_NAME):
        return name
    shown = 2 if len(name) > 3 and not name.isascii() else 1
    return name[:shown] + "*" * max(1, min(len(name) - shown, 3))
