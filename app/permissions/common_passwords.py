"""Passwords of ten characters and more that are tried first, derived from the patterns people use.

Walks over the keyboard, runs of digits, dates, pinyin and English words with the numbers that are put behind them, and
words said twice. A few thousand words and a few shapes; arithmetic only.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise, product

LENGTH_MIN = 10

#: Rows and columns of a keyboard, walked forwards and backwards.
WALKS = (
    "1234567890", "0987654321", "qwertyuiop", "poiuytrewq", "asdfghjkl", "lkjhgfdsa", "zxcvbnm", "mnbvcxz",
    "1qaz2wsx3edc4rfv5tgb", "zaq12wsxcde34rfv", "qazwsxedcrfv", "1q2w3e4r5t6y7u8i", "q1w2e3r4t5y6", "!qaz@wsx#edc",
    "abcdefghijklmnop", "1a2b3c4d5e6f", "a1b2c3d4e5f6", "qweasdzxc", "789456123", "147258369", "123qweasdzxc",
)  # fmt: skip

#: What people call themselves, their work and their love, in pinyin and in English.
WORDS = (
    "woaini", "woaiwojia", "woaizhongguo", "wodemima", "mima", "zhanghao", "denglu", "guanliyuan", "zhongguo", "beijing",
    "shanghai", "guangzhou", "shenzhen", "hangzhou", "chengdu", "chongqing", "wuhan", "nanjing", "xian", "tianjin",
    "wuye", "wuyefei", "dianfei", "shuifei", "chongzhi", "shoufei", "caiwu", "kuaiji", "kefu", "gongsi", "jituan",
    "xiaoqu", "yezhu", "zuhu", "zhangfang", "nihao", "nihaoma", "baobei", "laopo", "laogong", "mama", "baba", "jiayou",
    "facai", "gongxifacai", "xingfu", "kuaile", "pingan", "jiankang", "wangwei", "wangfang", "lina", "liwei", "zhangwei",
    "zhangli", "liuyang", "chenjing", "wangjing", "lijing", "zhangmin", "liqiang", "wangli", "wanglei", "zhanglei",
    "password", "passw0rd", "p@ssw0rd", "p@ssword", "admin", "administrator", "root", "system", "manager", "operator",
    "cashier", "finance", "welcome", "letmein", "changeme", "default", "secret", "master", "login", "iloveyou", "princess",
    "dragon", "monkey", "football", "sunshine", "shadow", "superman", "batman", "qwerty", "asdfgh", "zxcvbn", "abc",
    "abcd", "abcdef", "aaa", "test", "guest", "user", "demo", "tallyhouse", "tally", "meter", "energy", "property",
)  # fmt: skip

#: What is put behind (and sometimes before) a word.
ENDINGS = (
    "1", "12", "123", "1234", "12345", "123456", "1234567", "12345678", "123456789", "1234567890", "321", "654321", "111",
    "111111", "666", "6666", "666666", "888", "8888", "888888", "000000", "168", "1688", "518", "520", "5201314", "1314",
    "1314520", "521", "123321", "112233", "123123", "147258", "147258369", "!", "!@#", "123!", "1!", "@123", "@1234",
    "@12345", "@123456", "#123", "_123", ".123", "abc", "abc123", "qwe", "qwe123", "aa", "a1",
)  # fmt: skip
YEARS = tuple(str(year) for year in range(1960, 2036))

_PHONE = re.compile(r"(\+?86)?1[3-9]\d{9}")
_DATE = r"(19|20)\d\d[-./]?(0[1-9]|1[0-2])[-./]?(0[1-9]|[12]\d|3[01])"
_DATED = re.compile(rf"[a-z]{{0,3}}{_DATE}[a-z]{{0,3}}|({_DATE}){{2}}")
_LEET = str.maketrans("@0135$7", "aoiesst")


def is_common(password: str) -> bool:
    """Whether a password of ten or more characters is among those that are tried first."""
    plain = password.strip().lower()
    return (
        len(set(plain)) < 4
        or plain in common_passwords()
        or plain.translate(_LEET) in common_passwords()
        or _runs(plain)
        or _repeats(plain)
        or any(shape.fullmatch(plain) for shape in (_PHONE, _DATED))
    )


@cache
def common_passwords() -> frozenset[str]:
    """The list."""
    return frozenset(word for word in _derived() if len(word) >= LENGTH_MIN)


def _derived() -> Iterator[str]:
    for walk in WALKS:
        yield from (walk[:end] for end in range(LENGTH_MIN, len(walk) + 1))
        yield from (walk + walk, walk + walk[::-1])
        yield from (walk[:end] + ending for end in range(4, len(walk) + 1) for ending in ENDINGS)
    for word in WORDS:
        yield from (word, word * 2, word * 3)
        yield from (word + year for year in YEARS)
    for word, ending in product(WORDS, ENDINGS):
        yield from (word + ending, ending + word)
    for first, second in product(WORDS[:40], WORDS[:40]):
        yield first + second


def _repeats(plain: str) -> bool:
    """The same few characters over and over, the last time perhaps not to the end: abcabcabcab, qwer1234qwer."""
    spans = range(1, min(8, len(plain) * 2 // 3) + 1)
    return any(plain[span:] == plain[:-span] for span in spans)


def _runs(plain: str) -> bool:
    """Each character follows its neighbour by the same small step all along: 2345678901, kjihgfedcba."""
    steps = {(ord(b) - ord(a)) for a, b in pairwise(plain)}
    wrapped = {{9: -1, -9: 1}.get(step, step) for step in steps} if plain.isdigit() else steps
    return len(wrapped) == 1 and abs(next(iter(wrapped))) <= 2
