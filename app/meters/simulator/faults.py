"""What can go wrong with a gateway or a meter on demand, and how it bends an answer."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from app.kernel.errors import AppError
from app.meters.drivers.dlt645.frame import Frame, decode, encode

DELAY_MS_MAX = 60_000


class BadFault(AppError):
    """A fault that does not exist, or a value it cannot take."""

    code = "bad_fault"
    status = 422
    message_zh = "故障设置无效：{name}。可用：offline、drop_every、delay_ms、answer。"
    message_en = "This fault cannot be set: {name}. Known: offline, drop_every, delay_ms, answer."


class Answer(StrEnum):
    """How a meter answers: rightly, from a wrong address, with a broken checksum, or its relay stays put."""

    RIGHT = "right"
    WRONG_ADDRESS = "wrong_address"
    BAD_CHECKSUM = "bad_checksum"
    ACK_ONLY = "ack_only"


@dataclass(frozen=True, slots=True)
class Faults:
    """`drop_every` n loses every n-th answer (1 loses all, 0 none); `delay_ms` holds each answer back."""

    offline: bool = False
    drop_every: int = 0
    delay_ms: int = 0
    answer: Answer = Answer.RIGHT

    def changed(self, wanted: Mapping[str, Any]) -> "Faults":
        """These faults with some of them set anew. Raises BadFault."""
        return replace(self, **{name: _checked(name, value) for name, value in wanted.items()})

    def under(self, outer: "Faults") -> "Faults":
        """A meter's faults on a gateway that has its own: the worse of each."""
        return Faults(
            offline=self.offline or outer.offline,
            drop_every=self.drop_every or outer.drop_every,
            delay_ms=max(self.delay_ms, outer.delay_ms),
            answer=self.answer if self.answer is not Answer.RIGHT else outer.answer,
        )


NO_FAULTS = Faults()
_LIMITS = {"drop_every": 1_000_000, "delay_ms": DELAY_MS_MAX}


def _checked(name: str, value: object) -> Any:
    if name == "offline" and isinstance(value, bool):
        return value
    if name == "answer" and isinstance(value, str) and value in set(Answer):
        return Answer(value)
    if name in _LIMITS and type(value) is int and 0 <= value <= _LIMITS[name]:
        return value
    raise BadFault(name=name)


def bend(answer: bytes, how: Answer) -> bytes:
    """An answer as a faulty meter would send it."""
    match how:
        case Answer.WRONG_ADDRESS:
            frame = decode(answer)
            wrong = f"{(int(frame.address) + 1) % 10**12:012d}"
            return encode(Frame(wrong, frame.control, frame.data))
        case Answer.BAD_CHECKSUM:
            return answer[:-2] + bytes((answer[-2] ^ 0xFF,)) + answer[-1:]
        case _:
            return answer


def faults_view(faults: Faults) -> dict[str, Any]:
    """The faults as plain values."""
    return {field.name: getattr(faults, field.name) for field in fields(faults)}
