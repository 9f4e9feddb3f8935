"""Telling: each step with its instant, its facts and its checks. A check that fails ends the story and names the step."""

from collections.abc import Callable
from datetime import datetime

DAYS = "一二三四五六日"


class StoryBroken(Exception):
    """Something was not as it must be; the message names the step, what was expected and what was seen."""


class Narrator:
    """Writes the story line by line through `say` and keeps count of its checks."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], datetime]) -> None:
        self.say, self.now = say, now
        self.title = "before the story"
        self.checks = 0

    def chapter(self, title: str) -> None:
        """A new chapter."""
        self.say(f"\n━━ {title}")

    def step(self, title: str) -> None:
        """A new step at the present business instant."""
        self.title = title
        now = self.now()
        self.say(f"\n{now:%m-%d} 周{DAYS[now.weekday()]} {now:%H:%M}  {title}")

    def fact(self, label: str, text: object) -> None:
        """A piece of evidence."""
        self.say(f"    {label:<11} {text}")

    def expect(self, claim: str, seen: object, wanted: object = True) -> None:
        """Check that something is as it must be. Raises StoryBroken."""
        if seen != wanted:
            raise StoryBroken(f"{self.title} ({self.now():%Y-%m-%d %H:%M}): {claim}: expected {wanted!r}, saw {seen!r}")
        self.checks += 1
        self.say(f"    ✓ {claim}")
