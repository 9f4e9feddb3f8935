"""Permissions in words: an area, a sentence each. A permission without a sentence does not exist (tests/web)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from app.permissions.policy import SEPARATED, Permission
from app.web.words import _, listed


@dataclass(frozen=True, slots=True)
class Said:
    """A permission as a page shows it."""

    permission: Permission
    sentence: str


@dataclass(frozen=True, slots=True)
class Area:
    """Permissions of one area."""

    label: str
    said: list[Said]


def area_words() -> dict[str, str]:
    """Areas, the first word of a permission's name."""
    return {
        "account": _("用能户"),
        "api": _("接口"),
        "approval": _("审批"),
        "audit": _("审计"),
        "collection": _("催缴"),
        "counter": _("柜台电脑"),
        "demo": _("演示"),
        "energy": _("能耗"),
        "gateway": _("网关"),
        "ledger": _("财务"),
        "legal": _("核算主体"),
        "meter": _("表计"),
        "money": _("收款与退款"),
        "onboarding": _("建账"),
        "overview": _("总览"),
        "person": _("客户资料"),
        "plan": _("电价"),
        "platform": _("平台"),
        "property": _("房间"),
        "reading": _("抄表"),
        "resident": _("住户页面"),
        "security": _("安全设置"),
        "supply": _("供电"),
        "user": _("人员与权限"),
    }


def sentences() -> dict[Permission, str]:
    """What each permission lets a person do."""
    return {
        Permission.ACCOUNT_SUPPLY_READ: _("查看用能户：余额、用量、通知和控制记录"),
        Permission.API_TOKEN_MANAGE: _("签发和撤销 API 令牌"),
        Permission.API_WEBHOOK_MANAGE: _("登记向外推送的地址"),
        Permission.APPROVAL_LIMIT_EDIT: _("设定各角色可独自办理的限额"),
        Permission.APPROVAL_METER_DECIDE: _("审批抄表更正和批量停送电"),
        Permission.APPROVAL_MONEY_DECIDE: _("审批退款、冲正、减免、调账和期初余额"),
        Permission.APPROVAL_PRICE_DECIDE: _("审批调价"),
        Permission.APPROVAL_REQUEST_READ: _("查看审批申请"),
        Permission.APPROVAL_RIGHT_DECIDE: _("审批授权变更"),
        Permission.AUDIT_LOG_EXPORT: _("导出审计记录"),
        Permission.AUDIT_LOG_READ: _("查看审计记录"),
        Permission.COLLECTION_CALL_READ: _("查看催缴名单和收缴率"),
        Permission.COUNTER_PC_REGISTER: _("登记可用 PIN 切换的柜台电脑"),
        Permission.DEMO_CLOCK_MOVE: _("拨动演示时钟"),
        Permission.ENERGY_USAGE_READ: _("查看用量分析"),
        Permission.GATEWAY_GATEWAY_EDIT: _("登记和停用网关"),
        Permission.GATEWAY_GATEWAY_READ: _("查看网关及其在线状态"),
        Permission.LEDGER_ENTRY_READ: _("查看凭证和账套"),
        Permission.LEGAL_ENTITY_EDIT: _("维护核算主体"),
        Permission.METER_COMMAND_MASS: _("批量停供或送电"),
        Permission.METER_COMMAND_ORDER: _("对一户停供、送电或读表"),
        Permission.METER_METER_EDIT: _("装表、换表、登记保电"),
        Permission.METER_METER_READ: _("查看表计和示数"),
        Permission.MONEY_ADJUSTMENT_MAKE: _("调账"),
        Permission.MONEY_RECEIPT_PRINT: _("打印收据和单据，每次计数"),
        Permission.MONEY_RECEIPT_READ: _("查看收款和收据"),
        Permission.MONEY_REFUND_GIVE: _("退款"),
        Permission.MONEY_SHIFT_OWN: _("结清自己的班次"),
        Permission.MONEY_TOPUP_REVERSE: _("冲正他人办理的充值"),
        Permission.MONEY_TOPUP_SELL: _("在柜台收款充值"),
        Permission.MONEY_WAIVER_GIVE: _("减免欠费"),
        Permission.ONBOARDING_IMPORT_COMMIT: _("导入楼栋、房间、客户、表计和期初余额"),
        Permission.OVERVIEW_GROUP_READ: _("查看今日总览和各项目对比"),
        Permission.PERSON_DATA_EDIT: _("登记和修改客户的手机号、证件号和银行账号"),
        Permission.PERSON_DATA_ERASE: _("删除一位客户的个人资料"),
        Permission.PERSON_DATA_EXPORT: _("导出一位客户的个人资料"),
        Permission.PERSON_DOCUMENT_UNMASK: _("查看完整证件号和银行账号"),
        Permission.PERSON_PHONE_UNMASK: _("查看完整手机号"),
        Permission.PLAN_PRICE_PUBLISH: _("发布电价"),
        Permission.PLAN_PRICE_READ: _("查看电价方案"),
        Permission.PLATFORM_KEY_ROTATE: _("更换加密密钥"),
        Permission.PLATFORM_SETTING_EDIT: _("更改系统设置"),
        Permission.PROPERTY_WALL_READ: _("查看房态图和已付未送达"),
        Permission.READING_IMPORT_LOAD: _("导入和更正抄表示数"),
        Permission.RESIDENT_PAGE_OPEN: _("开放和关闭住户页面"),
        Permission.SECURITY_SETTING_READ: _("查看限额、安全策略、令牌、推送、柜台电脑和企业登录"),
        Permission.SUPPLY_APPLIANCES_CONFIRM: _("确认电器已关后送电"),
        Permission.SUPPLY_EMERGENCY_GIVE: _("夜间应急供电（有时长和金额上限）"),
        Permission.USER_ACCOUNT_EDIT: _("添加、停用人员，重设密码"),
        Permission.USER_ACCOUNT_READ: _("查看人员、角色和权限"),
        Permission.USER_GRANT_EDIT: _("授予和收回角色"),
        Permission.USER_POLICY_EDIT: _("更改安全策略"),
        Permission.USER_PROVIDER_EDIT: _("配置企业登录"),
        Permission.USER_ROLE_EDIT: _("新建和修改自定义角色"),
        Permission.USER_SESSION_MANAGE: _("结束他人的登录"),
        Permission.USER_VIEW_AS: _("以他人视角查看（只读，留痕）"),
    }


def by_area(permissions: Iterable[Permission]) -> list[Area]:
    """Permissions with their sentences, area by area."""
    wanted, words = set(permissions), sentences()
    areas = []
    for area, label in area_words().items():
        said = [Said(p, words[p]) for p in Permission if p in wanted and p.startswith(f"{area}:")]
        if said:
            areas.append(Area(label, said))
    return areas


def apart_in_words() -> list[tuple[str, str]]:
    """What one role may not join, side by side."""
    words = sentences()
    return [(_joined(one, words), _joined(other, words)) for one, other in SEPARATED]


def _joined(side: Collection[Permission], words: dict[Permission, str]) -> str:
    return listed(words[p] for p in Permission if p in side)
