"""Names, phones and ID numbers that are nobody's: all were born on 1 January 1900, all phones begin 199 0000."""

from contextlib import suppress

from app.tenants.phones import IdNumberWrong, normalise_id_number

_FAMILY = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
_GIVEN = (
    "建国", "秀英", "志强", "丽华", "文博", "雨桐", "子墨", "晓燕", "海涛", "静怡",
    "国栋", "春梅", "宇航", "佳宁", "明远", "思琪", "立新", "玉兰", "天佑", "若曦",
)  # fmt: skip
_CHECKS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def name_of(number: int) -> str:
    """The name of the n-th invented person."""
    return _FAMILY[number % len(_FAMILY)] + _GIVEN[number * 7 % len(_GIVEN)]


def phone_of(number: int) -> str:
    """A number of the right shape that is in nobody's hand."""
    return f"1990000{number:04d}"


def id_number_of(number: int) -> str:
    """A resident ID with a right check digit, of somebody born in 1900."""
    return _completed(f"11010119000101{number:03d}")


def credit_code_of(number: int) -> str:
    """A unified social credit code with a right check character and an invented organisation."""
    return _completed(f"91310000DEM{number:06d}")


def _completed(plain: str) -> str:
    for check in _CHECKS:
        with suppress(IdNumberWrong):
            return normalise_id_number(plain + check)
    raise ValueError(f"no check character completes {plain}")
