"""`tallyhouse demo story`: the chapters in their order, on a stage of their own."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from app.demo.history import cost_fen
from app.demo.registers import fit_meters
from app.demo.story import late, never, offline, running_out
from app.demo.story.acts import Act
from app.demo.story.books import tell_books
from app.demo.story.late import tell_late
from app.demo.story.narrator import Narrator
from app.demo.story.never import tell_never
from app.demo.story.offline import tell_offline
from app.demo.story.running_out import tell_running_out
from app.demo.story.stage import open_stage
from app.demo.street import first_number
from app.demo.town import Town, street_only

HISTORY_DAYS = 7
OVERDRAFT_FEN = 2_000


def story_town() -> Town:
    """和风苑 with balances such that each home runs out when its chapter needs it."""
    plain = street_only({}, history_days=HISTORY_DAYS)
    crossings = {
        running_out.SPACE: running_out.CROSSES,
        offline.SPACE: offline.CROSSES,
        offline.DARK_SPACE: offline.DARK_CROSSES,
    }
    left = {space: left_to_cross(plain, space, *when) for space, when in crossings.items()}
    low = dict.fromkeys(never.NEVER, 100 - OVERDRAFT_FEN)
    return street_only(left | low, history_days=HISTORY_DAYS)


def left_to_cross(town: Town, space: str, day: int, clock: str) -> int:
    """What a wallet must hold at the start so that its overdraft is used up at an instant of the story."""
    hour, minute = (int(part) for part in clock.split(":"))
    ends: datetime = (town.start + timedelta(days=day)).replace(hour=hour, minute=minute)
    site = town.sites[0]
    fitted = next(f for f in fit_meters(site, began_at=town.began_at, first=first_number(0)) if f.supply.space == space)
    return cost_fen(site, fitted.spec, town.start, ends) - OVERDRAFT_FEN


def tell_story(folder: Path, say: Callable[[str], None]) -> int:
    """Tell the whole story. Returns how many checks it made. Raises StoryBroken, NotQuiet."""
    began = time.monotonic()
    say("bringing up a private database and the product's own processes")
    with open_stage(folder, story_town(), say=say) as stage:
        say(f"up after {round(time.monotonic() - began, 1)} s; the clock stands at {stage.now:%Y-%m-%d %H:%M}")
        act, opened = Act(stage, Narrator(say, lambda: stage.now)), time.monotonic()
        tell_running_out(act)
        tell_offline(act)
        tell_never(act)
        tell_late(act)
        tell_books(act, running_out.SPACE, offline.SPACE, late.SPACE)
        days = (stage.now - stage.town.start) / timedelta(days=1)
        took = time.monotonic() - opened
        say(f"\n{days:.1f} simulated days in {took:.1f} s, {act.tell.checks} checks, all as they must be")
        return act.tell.checks
