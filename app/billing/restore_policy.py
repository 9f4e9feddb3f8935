"""Giving supply back: allowed at any hour, by what the actuator can do and who asked for the stop.

No window, no weather, no threshold and no kill switch holds back a restore: the switch stops trips. Withholding
light for another debt counts as a stop, so no other debt is even asked about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.billing.stop_policy import Basis
from app.kernel.money import format_yuan
from app.meters.actuators import CLOSING, Actuator

#: A safety trip restores by itself this often in 24 hours, then a person looks.
SAFETY_RESTORES_MAX = 3


class RestoreHow(StrEnum):
    """What is done to give supply back."""

    #: The command closes the relay.
    DIRECT_CLOSE = "direct_close"
    #: The command lets the resident press the meter's button.
    PERMIT_CLOSE = "permit_close"
    #: A person goes there and closes it by hand.
    DUTY_TASK = "duty_task"
    NOTHING = "nothing"


class RestoreRefusal(StrEnum):
    """Why supply is not given back now."""

    BELOW_RESTORE = "below_restore"
    PERSON_STOPPED = "person_stopped"
    SAFETY_TOO_OFTEN = "safety_too_often"
    APPLIANCES_UNCONFIRMED = "appliances_unconfirmed"


#: Chinese and English, with the way out.
RESTORE_SENTENCES: Mapping[RestoreRefusal, tuple[str, str]] = MappingProxyType(
    {
        RestoreRefusal.BELOW_RESTORE: (
            "再充值至少 {pay} 即可复供。",
            "Pay at least {pay} more and the supply returns.",
        ),
        RestoreRefusal.PERSON_STOPPED: (
            "该户为人工停供，需由工作人员确认后复供。请联系物业。",
            "A person stopped this supply; staff must give it back. Contact the property.",
        ),
        RestoreRefusal.SAFETY_TOO_OFTEN: (
            "24 小时内已多次安全跳闸，需检查线路后由工作人员复供。",
            "The supply tripped for safety several times in 24 hours. Staff restore it after an inspection.",
        ),
        RestoreRefusal.APPLIANCES_UNCONFIRMED: (
            "请确认电炉、热水器等用电设备已关闭，确认后立即复供。",
            "Confirm that cookers and heaters are off, and the supply returns at once.",
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFacts:
    """What a restore depends on. Amounts in fen, read under the wallet's lock."""

    #: The ground of the stop being undone.
    basis: Basis
    actuator: Actuator
    available_fen: int
    #: Power returns when available is at least this.
    restore_fen_min: int
    #: The resident can reach the meter's button.
    button_reachable: bool
    #: "Appliances off" was confirmed on the phone (or at the counter).
    appliances_off: bool
    #: A member of staff orders it, having looked.
    by_person: bool = False
    #: The duty officer holds stops for money off: light returns whatever the wallet says.
    emergency: bool = False
    #: Automatic restores after safety trips in the last 24 hours.
    safety_restores: int = 0


@dataclass(frozen=True, slots=True)
class RestoreVerdict:
    """What to do, or why not; `pay_fen` is what is missing for light."""

    how: RestoreHow
    refusal: RestoreRefusal | None = None
    pay_fen: int = 0


def judge_restore(facts: RestoreFacts) -> RestoreVerdict:
    """How to give supply back. In order: who stopped it, safety count, money, then what the actuator can do."""
    refusal = _held_back(facts)
    if refusal is RestoreRefusal.BELOW_RESTORE:
        return RestoreVerdict(RestoreHow.NOTHING, refusal, pay_for_light_fen(facts))
    if refusal is not None:
        return RestoreVerdict(RestoreHow.NOTHING, refusal)
    return _by_actuator(facts)


def pay_for_light_fen(facts: RestoreFacts) -> int:
    """How much to pay, at least, for supply to return; zero when enough is there."""
    return max(facts.restore_fen_min - facts.available_fen, 0)


def explain_restore(verdict: RestoreVerdict, locale: str = "zh") -> str:
    """The refusal as a sentence with the way out; empty when there is none."""
    if verdict.refusal is None:
        return ""
    template = RESTORE_SENTENCES[verdict.refusal][locale.startswith("en")]
    return template.format(pay=format_yuan(verdict.pay_fen))


def _held_back(facts: RestoreFacts) -> RestoreRefusal | None:
    if facts.basis is Basis.MANUAL and not facts.by_person:
        return RestoreRefusal.PERSON_STOPPED
    if facts.basis is Basis.SAFETY and not facts.by_person and facts.safety_restores >= SAFETY_RESTORES_MAX:
        return RestoreRefusal.SAFETY_TOO_OFTEN
    about_money = facts.basis in {Basis.ZERO_STOP, Basis.ARREARS}
    if about_money and not facts.by_person and not facts.emergency and pay_for_light_fen(facts):
        return RestoreRefusal.BELOW_RESTORE
    return None


def _by_actuator(facts: RestoreFacts) -> RestoreVerdict:
    closing = CLOSING[facts.actuator]
    if not closing.remote:
        return RestoreVerdict(RestoreHow.DUTY_TASK)
    if closing.permit and facts.button_reachable:
        return RestoreVerdict(RestoreHow.PERMIT_CLOSE)
    if facts.appliances_off:
        return RestoreVerdict(RestoreHow.DIRECT_CLOSE)
    return RestoreVerdict(RestoreHow.NOTHING, RestoreRefusal.APPLIANCES_UNCONFIRMED)
