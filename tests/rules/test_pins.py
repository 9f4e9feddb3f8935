"""Which PINs are too easy."""

import pytest

from app.permissions.pins import is_easy


@pytest.mark.parametrize(
    "pin", ["000000", "112211", "123456", "890123", "654321", "210987", "371371", "900229", "851231", "010101"]
)
def test_what_everybody_tries_first_is_easy(pin: str) -> None:
    assert is_easy(pin)


@pytest.mark.parametrize("pin", ["839471", "406158", "927360", "190745"])
def test_six_digits_without_a_pattern_are_not(pin: str) -> None:
    assert not is_easy(pin)
