"""Amounts in capital characters 大写金额, as Chinese receipts must carry them. Pure."""

DIGITS = "零壹贰叁肆伍陆柒捌玖"
PLACES = ("", "拾", "佰", "仟")
GROUPS = ("", "万", "亿", "万亿")


def capital_yuan(fen: int) -> str:
    """`壹佰零贰元叁角整` for 10230 fen; a minus is said as 负."""
    sign, yuan, rest = ("负" if fen < 0 else ""), abs(fen) // 100, abs(fen) % 100
    jiao, cents = divmod(rest, 10)
    whole = _whole(yuan) + "元" if yuan else ""
    if not rest:
        return sign + (whole or "零元") + "整"
    tens = DIGITS[jiao] + "角" if jiao else ("零" if whole else "")
    return sign + whole + tens + (DIGITS[cents] + "分" if cents else "整")


def _whole(yuan: int) -> str:
    groups = _by_ten_thousands(yuan)
    said = ""
    for index, group in enumerate(groups):
        above = len(groups) - 1 - index
        gap = bool(said) and group < 1000 and not said.endswith("零")
        if group:
            said += ("零" if gap else "") + _group(group) + GROUPS[above]
        elif said and any(groups[index + 1 :]) and not said.endswith("零"):
            said += "零"
    return said


def _by_ten_thousands(yuan: int) -> list[int]:
    groups = []
    while yuan:
        yuan, group = divmod(yuan, 10_000)
        groups.append(group)
    return groups[::-1]


def _group(group: int) -> str:
    said, zero = "", False
    for place in (3, 2, 1, 0):
        digit = group // 10**place % 10
        if digit:
            said += ("零" if zero and said else "") + DIGITS[digit] + PLACES[place]
            zero = False
        else:
            zero = True
    return said
