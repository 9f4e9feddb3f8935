"""The story, told to its end: real processes, real frames, the counter's own form, a clock that only moves when all is
quiet. It checks itself; what is checked here is that it says what it promises.
"""

import pytest

from app.demo.story.narrator import Narrator, StoryBroken
from app.demo.story.telling import tell_story
from app.demo.town import START
from tests.factories.street import story_folder

# On one worker, so that the story is told once.
pytestmark = pytest.mark.xdist_group("story")


@pytest.fixture(scope="module")
def told() -> list[str]:
    """Every line of the story."""
    lines: list[str] = []
    with story_folder() as folder:
        tell_story(folder, lines.append)
    return lines


def line_of(told: list[str], words: str) -> int:
    """Where the first line with these words stands."""
    return next(number for number, line in enumerate(told) if words in line)


def test_the_story_goes_from_plenty_to_light_in_this_order(told: list[str]) -> None:
    milestones = (
        "✓ no alarm yet",
        "the wallet is low: alarm_1",
        "the wallet is low: alarm_2",
        "the wallet is low: zero",
        "✓ quiet time holds",
        "the last warning",
        "✓ the warning stands before the stop",
        "✓ done means read back",
        "✓ the stop is in force",
        "✓ nothing was used",
        "✓ the same form sent twice shows the same receipt",
        "✓ the light is back by read-back",
        "✓ something was used",
        "✓ it stands in the queue of what is paid and not delivered",
        "✓ the queue is empty",
        "✓ the credit cancelled the trip",
        "✓ the meter was never tripped",
        "✓ differences were posted both ways",
        "✓ every invariant of money holds",
        "✓ nothing is left undone, dead or open",
    )
    places = [line_of(told, words) for words in milestones]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("reading", "kWh at 07-2"),
        ("working", "Wh × 0.566 yuan/kWh = "),
        ("frame out", "35******"),
        ("frame in", "9C00"),
        ("permit", "zero_stop"),
        ("evidence", "overdraft 2000 fen"),
        ("refusal", "免打扰时段"),
        ("receipt", "-000001"),
        ("entry", "debit cash credit wallet ¥100.00"),
        ("proof", "provider id m-"),
        ("seals", "audit: "),
    ],
)
def test_the_story_shows_its_evidence(told: list[str], label: str, words: str) -> None:
    assert [line for line in told if line.strip().startswith(label) and words in line]


def test_a_story_that_goes_wrong_names_its_step() -> None:
    from_now: list[str] = []
    narrator = Narrator(from_now.append, lambda: START)
    narrator.step("the hours begin")
    with pytest.raises(StoryBroken, match=r"the hours begin .*relay open: expected True, saw False"):
        narrator.expect("relay open", seen=False)
