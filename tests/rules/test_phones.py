"""Phone and ID numbers: one spelling, and how much of a name or number a screen shows."""

import pytest

from app.tenants.phones import (
    ERASED_NAME,
    BankAccountWrong,
    IdNumberWrong,
    PhoneUnreadable,
    last_four,
    looks_mistyped,
    mask_name,
    mask_phone,
    mask_tail,
    normalise_bank_account,
    normalise_id_number,
    normalise_phone,
)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("13812345678", "+8613812345678"),
        (" 138 1234 5678 ", "+8613812345678"),
        ("138-1234-5678", "+8613812345678"),
        ("１３８１２３４５６７８", "+8613812345678"),
        ("+86 138 1234 5678", "+8613812345678"),
        ("0086 13812345678", "+8613812345678"),
        ("(021) 5888 1234", "+8602158881234"),
        ("0571-88123456", "+86057188123456"),
        ("+852 9123 4567", "+85291234567"),
        ("00 44 20 7946 0958", "+442079460958"),
    ],
)
def test_a_number_has_one_spelling(typed: str, kept: str) -> None:
    assert normalise_phone(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "12345",
        "12812345678",
        "1381234567",
        "138123456789",
        "+8612345",
        "王小明",
        "١٣٨١٢٣٤٥٦٧٨",
        "138x2345678",
        "+0123456789",
    ],
)
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(PhoneUnreadable):
        normalise_phone(typed)


@pytest.mark.parametrize(
    "number", ["11010519491231002X", "11010519491231002x", " 110105 19491231 002X", "440524188001010014"]
)
def test_a_resident_id_with_its_check_digit_is_taken(number: str) -> None:
    assert normalise_id_number(number) == number.replace(" ", "").upper()


def test_a_credit_code_with_its_check_character_is_taken() -> None:
    assert normalise_id_number("91350100M000100Y43") == "91350100M000100Y43"


@pytest.mark.parametrize(
    "number",
    ["", "110105194912310021", "11010519491231002", "91350100M000100Y44", "91350100I000100Y43", "X" * 18, "１１０"],
)
def test_a_wrong_id_number_is_refused(number: str) -> None:
    with pytest.raises(IdNumberWrong):
        normalise_id_number(number)


@pytest.mark.parametrize(
    ("number", "shown"),
    [("+8613812345678", "138****5678"), ("+8602158881234", "****1234"), ("+85291234567", "****4567")],
)
def test_a_screen_shows_the_ends_of_a_number(number: str, shown: str) -> None:
    assert mask_phone(number) == shown
    assert last_four(number) == shown[-4:]


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("王明", "person", "王*"),
        ("王小明", "person", "王**"),
        ("欧阳小明", "person", "欧阳**"),
        ("王", "person", "王*"),
        ("Smith", "person", "S***"),
        ("", "person", ""),
        ("和风餐饮有限公司", "company", "和风餐饮有限公司"),
    ],
)
def test_a_screen_shows_the_family_name(name: str, kind: str, shown: str) -> None:
    assert mask_name(name, kind=kind) == shown


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("6222 0212 3456 7890 128", "6222021234567890128"),
        ("31001-5012-0000-5", "31001501200005"),
        ("６２２２０２１２３４５６７８９０１２８", "6222021234567890128"),
        ("12345678", "12345678"),
    ],
)
def test_a_bank_account_has_one_spelling(typed: str, kept: str) -> None:
    assert normalise_bank_account(typed) == kept


@pytest.mark.parametrize("typed", ["", "1234567", "1" * 31, "6222x212345678", "DE44500105175407324931", "٦٢٢٢٠٢١٢٣٤"])
def test_what_is_no_bank_account_is_refused(typed: str) -> None:
    with pytest.raises(BankAccountWrong):
        normalise_bank_account(typed)


@pytest.mark.parametrize(
    ("account", "doubtful"),
    [
        ("6222021234567890128", False),
        ("6222021234567890129", True),
        ("6222021234576890128", True),  # two digits exchanged
        ("6212345678901232", False),
        ("31001501200005", False),  # no card: nothing is known about its digits
        ("4111111111111112", False),
    ],
)
def test_a_card_whose_check_digit_does_not_fit_is_doubtful_and_no_more(account: str, doubtful: bool) -> None:
    assert looks_mistyped(account) is doubtful


def test_of_numbers_the_last_four_are_shown_and_an_erased_name_is_no_name() -> None:
    assert mask_tail("6222021234567890128") == "****0128"
    assert mask_tail("11010519491231002X") == "****002X"
    assert mask_name(ERASED_NAME) == ERASED_NAME
