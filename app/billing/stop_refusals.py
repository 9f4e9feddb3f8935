"""Why a stop does not happen: every refusal of the gate by name, in its order, with words and the way out."""

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from types import MappingProxyType


class Refusal(StrEnum):
    """In the order of the gate: the first that applies is the one shown."""

    KILL_SWITCH = "kill_switch"
    PROPERTY_FEE_DEBT = "property_fee_debt"
    RESIDENTIAL_OTHER_DEBT = "residential_other_debt"
    OTHER_DEBT = "other_debt"
    ARREARS_NOT_AVAILABLE = "arrears_not_available_yet"
    MANUAL_REASON_MISSING = "manual_reason_missing"
    NO_AGREEMENT = "no_agreement"
    GUARANTEED = "guaranteed"
    PROTECTED = "protected"
    BYPASSED = "bypassed"
    NOT_ON_SUPPLY_ACCOUNT = "not_on_supply_account"
    SHARED_RISER = "shared_riser"
    EMERGENCY_SUPPLY = "emergency_supply"
    PAYMENT_DOWN = "payment_down"
    CALENDAR_UNKNOWN = "calendar_unknown"
    QUIET_DAY = "quiet_day"
    BEFORE_HOURS = "before_hours"
    AFTER_HOURS = "after_hours"
    WEATHER_UNKNOWN = "weather_unknown"
    WEATHER_ALERT = "weather_alert"
    NOTICE_ALARM_1 = "notice_alarm_1"
    NOTICE_ALARM_2 = "notice_alarm_2"
    NOTICE_ZERO = "notice_zero"
    NOTICE_LAST_WARNING = "notice_last_warning"
    LAST_WARNING_TOO_RECENT = "last_warning_too_recent"
    LAST_WARNING_TOO_OLD = "last_warning_too_old"
    BALANCE_ABOVE_FLOOR = "balance_above_floor"
    DATA_MISSING = "data_missing"
    DATA_STALE = "data_stale"
    DATA_SUSPECT = "data_suspect"
    FROZEN = "frozen"
    HOUR_LIMIT = "hour_limit"
    DAY_LIMIT = "day_limit"


#: Chinese and English; `{again}` is when it is judged anew, `{edge}` the nearer end of today's hours,
#: `{lead}` the minutes a last warning stands before a stop.
SENTENCES: Mapping[Refusal, tuple[str, str]] = MappingProxyType(
    {
        Refusal.KILL_SWITCH: (
            "停供总开关已打开，任何停供都不会执行。需恢复时请由集团管理员关闭总开关。",
            "The kill switch is on: nothing is stopped. A group administrator can turn it off.",
        ),
        Refusal.PROPERTY_FEE_DEBT: (
            "不得以物业费、停车费欠费为由停供（《民法典》第944条）。请通过催缴或司法途径处理。",
            "Property or parking fees never lead to a stop (Civil Code art. 944). Use demand notices or the courts.",
        ),
        Refusal.RESIDENTIAL_OTHER_DEBT: (
            "住宅只能因该能源本身的欠费停供，其他欠费不得停供。请另行催缴。",
            "A home is stopped only for this utility's own debt. Collect other debts separately.",
        ),
        Refusal.OTHER_DEBT: (
            "本次停供的依据不能包含其他欠费。请移除其他欠费，仅以本能源余额判断。",
            "This basis cannot carry other debts. Remove them and judge by this utility's balance only.",
        ),
        Refusal.ARREARS_NOT_AVAILABLE: (
            "欠费停供功能尚未开放。请先使用催缴；预付费用户按余额用尽停供处理。",
            "Arrears cut-off is not available yet. Send demands; prepaid supplies are stopped at zero.",
        ),
        Refusal.MANUAL_REASON_MISSING: (
            "人工停供必须填写原因（如检修、抢险）。请填写后重试。",
            "A manual stop needs a reason, such as works or an emergency. Enter it and try again.",
        ),
        Refusal.NO_AGREEMENT: (
            "未登记签署的预付费协议，不能自动停供。请打印协议、签署并登记。",
            "No signed agreement is on file, so nothing stops by itself. Print, sign and file it.",
        ),
        Refusal.GUARANTEED: (
            "该表计为保电对象，任何情况下不停供。确需调整请先解除保电。",
            "This meter has guaranteed supply and is never stopped. Lift the guarantee first if that is wrong.",
        ),
        Refusal.PROTECTED: (
            "该户为受保护用户（医疗设备、婴幼儿、独居老人），不停供。请上门关怀并复核登记。",
            "A protected person lives here: no stop. Visit them, and review the registration.",
        ),
        Refusal.BYPASSED: (
            "断路器已退出控制，不发送停供。请检修后重新投入。",
            "The breaker is bypassed, so no trip is sent. Re-engage it after the works.",
        ),
        Refusal.NOT_ON_SUPPLY_ACCOUNT: (
            "该表计未安装在用能户上（公共或总表），视为保电，不停供。请核对装表关系。",
            "The meter serves no supply account, so its supply is guaranteed. Check where it is mounted.",
        ),
        Refusal.SHARED_RISER: (
            "该水表位于共用立管，停水会影响邻户，不停供。请改为上门催缴。",
            "The meter is on a shared riser; a stop would reach neighbours. Visit instead.",
        ),
        Refusal.EMERGENCY_SUPPLY: (
            "值班员已给予应急供电，到期或用量用完之前不停供。请提醒住户尽快充值。",
            "The duty officer gave an emergency supply: no stop until its time or usage is over. Ask for a payment.",
        ),
        Refusal.PAYMENT_DOWN: (
            "手机缴费暂不可用，用户无法及时缴费，暂不停供。支付恢复后系统自动再次判断。",
            "Phone payment is down and people could not pay: no stop. It is judged again once payment is back.",
        ),
        Refusal.CALENDAR_UNKNOWN: (
            "节假日安排尚未公布或未导入，无法确认是否可停供，暂不停供。请更新节假日日历。",
            "The holiday calendar does not cover this day, so nothing is stopped. Update the calendar.",
        ),
        Refusal.QUIET_DAY: (
            "今日为节假日、节假日前一日或约定不停供日，不停供，系统将于{again} 再次判断。",
            "Today is a holiday, the eve of one, or an agreed quiet day: no stop. Judged again at {again}.",
        ),
        Refusal.BEFORE_HOURS: (
            "{edge} 前不停供（免打扰时段），系统将于{again} 再次判断。",
            "No stop before {edge} (quiet hours). Judged again at {again}.",
        ),
        Refusal.AFTER_HOURS: (
            "{edge} 后不停供（免打扰时段），系统将于{again} 再次判断。",
            "No stop after {edge} (quiet hours). Judged again at {again}.",
        ),
        Refusal.WEATHER_UNKNOWN: (
            "天气数据源不可用，无法确认安全，暂不停供。数据恢复后系统自动再次判断。",
            "The weather source is down, so nothing is stopped. Judged again when it is back.",
        ),
        Refusal.WEATHER_ALERT: (
            "当前有高温、严寒或橙色以上预警，暂不停供。预警解除后系统自动再次判断。",
            "A heat, frost or orange weather alert is in force: no stop. Judged again when it is lifted.",
        ),
        Refusal.NOTICE_ALARM_1: (
            "一级低余额提醒没有送达证明，不停供。系统会补发；也可张贴通知并拍照登记。",
            "No proof that alarm 1 arrived: no stop. It is sent again; or post it on the door with a photo.",
        ),
        Refusal.NOTICE_ALARM_2: (
            "二级低余额提醒没有送达证明，不停供。系统会补发；也可张贴通知并拍照登记。",
            "No proof that alarm 2 arrived: no stop. It is sent again; or post it on the door with a photo.",
        ),
        Refusal.NOTICE_ZERO: (
            "余额用尽通知没有送达证明，不停供。系统会补发；也可张贴通知并拍照登记。",
            "No proof that the notice at zero arrived: no stop. It is sent again; or post it with a photo.",
        ),
        Refusal.NOTICE_LAST_WARNING: (
            "停供前最后提醒尚未送达，不停供。送达满 {lead} 分钟后系统将再次判断。",
            "The last warning has not arrived: no stop. Judged again {lead} minutes after it does.",
        ),
        Refusal.LAST_WARNING_TOO_RECENT: (
            "停供前最后提醒送达不足 {lead} 分钟，暂不停供，系统将于{again} 再次判断。",
            "The last warning arrived less than {lead} minutes ago: no stop yet. Judged again at {again}.",
        ),
        Refusal.LAST_WARNING_TOO_OLD: (
            "停供前最后提醒已过期，需重新提醒。系统会补发，送达满 {lead} 分钟后再次判断。",
            "The last warning has aged and is given anew. Judged again {lead} minutes after it arrives.",
        ),
        Refusal.BALANCE_ABOVE_FLOOR: (
            "复核余额未超过透支额度，不停供。无需操作，余额下降后系统会再次判断。",
            "Re-read, the balance is within its overdraft: no stop. Nothing to do; it is judged as it falls.",
        ),
        Refusal.DATA_MISSING: (
            "没有可用的抄表示数，不停供。请检查网关与表计通信，或人工抄表导入。",
            "There is no reading to rely on: no stop. Check the gateway and the meter, or read it by hand.",
        ),
        Refusal.DATA_STALE: (
            "最近一次抄表已过时，不停供。请检查通信或人工抄表，取得新示数后系统再次判断。",
            "The last reading is too old: no stop. Restore the connection or read by hand; then it is judged again.",
        ),
        Refusal.DATA_SUSPECT: (
            "示数存疑或为估算，不停供。请人工核对示数后再判断。",
            "The reading is suspect or estimated: no stop. Have it checked by a person.",
        ),
        Refusal.FROZEN: (
            "短时间内大量账户余额归零，自动停供已冻结。请核查电价与导入数据后人工解冻。",
            "Too many wallets crossed zero at once, so stops are frozen. Check prices and imports, then release.",
        ),
        Refusal.HOUR_LIMIT: (
            "本小时停供数量已达上限，其余停供等待第二人复核放行。",
            "This hour's limit of stops is reached. The rest wait for a second person to release them.",
        ),
        Refusal.DAY_LIMIT: (
            "今日停供数量已达上限，其余停供等待第二人复核放行。",
            "Today's limit of stops is reached. The rest wait for a second person to release them.",
        ),
    }
)


def sentence(
    refusal: Refusal,
    *,
    now: datetime,
    zone: tzinfo,
    edge: datetime | None = None,
    again: datetime | None = None,
    lead: timedelta = timedelta(minutes=30),
    locale: str = "zh",
) -> str:
    """The refusal for a person. `edge` and `again` are instants, and an unknown one reads "the next opening".

    `lead` is how long the last warning stands before a stop.
    """
    english = locale.startswith("en")
    words = {"edge": _when(edge, now, zone, english), "again": _when(again, now, zone, english)}
    return SENTENCES[refusal][english].format(lead=lead // timedelta(minutes=1), **words)


def _when(instant: datetime | None, now: datetime, zone: tzinfo, english: bool) -> str:
    """Near days by name, others by date: "明日 10:00", "10:00 tomorrow", "10月8日 08:00"."""
    if instant is None:
        return "the next opening" if english else "下次可停供时段"
    local, today = instant.astimezone(zone), now.astimezone(zone).date()
    clock = f"{local:%H:%M}"
    if local.date() == today:
        return f"{clock} today" if english else f"{'今晚' if local.hour >= 18 else '今日'} {clock}"
    if local.date() == today + timedelta(days=1):
        return f"{clock} tomorrow" if english else f"明日 {clock}"
    return f"{clock} on {local.day} {local:%b}" if english else f"{local.month}月{local.day}日 {clock}"
