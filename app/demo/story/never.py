"""Chapter three: those who are never cut off, however low they are."""

from datetime import timedelta

from app.demo.story.acts import Act, show_reading
from app.kernel.money import format_yuan

#: Space → the refusal that protects it.
NEVER = {"B-0101": "guaranteed", "B-0102": "protected", "B-0103": "no_agreement"}


def tell_never(act: Act) -> None:
    """Guaranteed supply, a protected party, no agreement: each past its overdraft, each with its light on."""
    act.tell.chapter("Those who are never cut off")
    act.stage.advance(act.stage.now.replace(minute=0) + timedelta(hours=1))
    for space, refusal in NEVER.items():
        home = act.scene(space)
        act.tell.step(f"{space}: {format_yuan(home.available_fen)}")
        judged = home.judged()
        act.tell.expect(
            "past the overdraft and judged", (home.available_fen < -2_000, judged is not None), (True, True)
        )
        if judged is not None:
            act.tell.fact("refusal", judged.sentence)
            act.tell.expect("the gate refuses by name", judged.verdict, refusal)
        act.tell.expect("no command was ever made", len(home.commands()), 0)
        act.tell.expect("the light is on", home.meter_view()["relay_open"], False)
        show_reading(act, home)
