"""Every expected failure has a code of its own, a status, words in two languages, and a test that speaks of it."""

import importlib
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from app.kernel.errors import AppError

ROOT = Path(__file__).resolve().parents[2]
CHINESE = re.compile(r"[一-鿿]")


@cache
def failures() -> tuple[type[AppError], ...]:
    """Every class of failure in the product; importing all of its modules makes them known."""
    for file in sorted((ROOT / "app").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        importlib.import_module(".".join(part for part in parts if part != "__init__"))
    found, ahead = set(), [AppError]
    while ahead:
        for kind in ahead.pop().__subclasses__():
            found.add(kind)
            ahead.append(kind)
    return tuple(sorted((kind for kind in found if kind.__module__.startswith("app.")), key=lambda kind: kind.__name__))


def concrete() -> list[type[AppError]]:
    """Those with a message of their own; a family's head has none."""
    return [kind for kind in failures() if "message_zh" in vars(kind)]


def spoken_of() -> str:
    files = (file for file in (ROOT / "tests").rglob("*.py") if file != Path(__file__))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_there_are_failures_to_speak_of() -> None:
    assert len(concrete()) > 100


def test_a_code_names_one_failure() -> None:
    codes = Counter(kind.code for kind in concrete())
    assert [code for code, times in codes.items() if times > 1] == []


@pytest.mark.parametrize("kind", concrete(), ids=lambda kind: kind.__name__)
def test_a_failure_speaks_to_machines_and_to_people(kind: type[AppError]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,59}", kind.code)
    assert 400 <= kind.status < 600
    assert CHINESE.search(kind.message_zh) or not re.sub(r"{\w+}|：", "", kind.message_zh)
    assert not CHINESE.search(re.sub(r"“[^”]*”", "", kind.message_en))
    assert sorted(re.findall(r"{(\w+)", kind.message_zh)) == sorted(re.findall(r"{(\w+)", kind.message_en))


def test_every_failure_is_spoken_of_in_a_test() -> None:
    said = spoken_of()
    silent = [kind for kind in concrete() if not re.search(rf"\b({kind.__name__}|{kind.code})\b", said)]
    assert [f"{kind.__module__}.{kind.__name__}" for kind in silent] == []
