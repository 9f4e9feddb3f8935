"""The audit log in the reader's words: deeds, fields, what changed. A code that is not here is shown as it is kept."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Flask

from app.web.words import _, moment, yuan


def deed_groups() -> dict[str, dict[str, str]]:
    """Every deed that leaves a record, by what it is about."""
    return {
        _("登录与会话"): _sign_in_deeds(),
        _("人员与角色"): _people_deeds(),
        _("审批"): _approval_deeds(),
        _("资金"): _money_deeds(),
        _("电价与建账"): _price_deeds(),
        _("停供与复供"): _supply_deeds(),
        _("催缴"): _collection_deeds(),
        _("表计与抄表"): _meter_deeds(),
        _("个人信息"): _person_deeds(),
        _("接口、审计与平台"): _platform_deeds(),
    }


def deed_words(deed: str) -> str:
    """A deed in words."""
    return next((words[deed] for words in deed_groups().values() if deed in words), deed)


def _sign_in_deeds() -> dict[str, str]:
    return {
        "user:session:open": _("登录"),
        "user:session:refuse": _("登录被拒绝"),
        "user:session:revoke": _("结束会话"),
        "user:password:change": _("修改密码"),
        "user:password:check": _("再次验证密码"),
        "user:factor:add": _("添加验证方式"),
        "user:factor:remove": _("移除验证方式"),
        "user:factor:rename": _("重命名验证方式"),
        "user:factor:show": _("再次验证身份"),
        "user:factor:waive": _("未设验证方式，直接通过"),
        "user:password_link:make": _("生成重设密码链接"),
        "user:password_link:use": _("通过链接重设密码"),
        "user:recovery:make": _("生成恢复码"),
        "user:recovery:use": _("使用恢复码"),
        "user:factor:begin": _("开始添加验证方式"),
        "user:identity:bind": _("绑定企业登录"),
        "user:identity:unbind": _("解绑企业登录"),
        "user:password_link:send": _("发送重设密码链接"),
        "user:pin:set": _("设置柜台 PIN"),
        "resident:session:open": _("住户登录"),
        "resident:session:refuse": _("住户登录被拒绝"),
        "resident:session:end": _("住户退出"),
        "resident:code:withhold": _("住户验证码超出每日上限，未发送"),
        "resident:page:open": _("开放住户页面"),
        "resident:page:close": _("关闭住户页面"),
    }


def _people_deeds() -> dict[str, str]:
    return {
        "user:account:create": _("新建账号"),
        "user:account:disable": _("停用账号"),
        "user:account:enable": _("启用账号"),
        "user:account:rename": _("修改姓名"),
        "user:phone:change": _("修改手机号"),
        "user:grant:give": _("授予角色"),
        "user:grant:withdraw": _("收回角色"),
        "user:policy:change": _("修改安全策略"),
        "user:role:change": _("修改自定义角色"),
        "user:role:copy": _("复制角色"),
        "user:role:withdraw": _("停用自定义角色"),
        "user:view:begin": _("开始以他人视角查看"),
        "user:view:end": _("结束以他人视角查看"),
        "access:deed:refuse": _("操作被拒绝"),
        "user:provider:add": _("添加企业登录"),
        "user:provider:disable": _("停用企业登录"),
        "counter:pc:register": _("登记柜台电脑"),
        "counter:pc:revoke": _("注销柜台电脑"),
    }


def _approval_deeds() -> dict[str, str]:
    return {
        "approval:limit:edit": _("修改金额限额"),
        "approval:request:file": _("提交审批"),
        "approval:request:approve": _("批准"),
        "approval:request:reject": _("驳回"),
        "approval:request:withdraw": _("撤回申请"),
        "approval:request:expire": _("审批过期"),
        "approval:request:redeem": _("执行已批准的操作"),
        "approval:request:fail": _("批准后执行失败"),
    }


def _money_deeds() -> dict[str, str]:
    return {
        "money:topup:sell": _("充值收款"),
        "money:topup:reverse": _("冲正充值"),
        "money:paper:print": _("打印退款、减免、调账单"),
        "money:refund:give": _("退款"),
        "money:waiver:give": _("减免"),
        "money:adjustment:make": _("调整余额"),
        "money:refund:undo": _("冲正退款"),
        "money:waiver:undo": _("冲正减免"),
        "money:adjustment:undo": _("冲正调账"),
    }


def _price_deeds() -> dict[str, str]:
    return {
        "plan:price:publish": _("发布电价"),
        "plan:price:withdraw": _("撤回电价"),
        "onboarding:import:commit": _("建账导入"),
    }


def _supply_deeds() -> dict[str, str]:
    return {
        "stop:switch:halt": _("打开停供总开关"),
        "stop:switch:resume": _("关闭停供总开关"),
        "supply:stop:order": _("停供"),
        "supply:stop:lift": _("解除停供"),
        "supply:restore:order": _("恢复供电"),
        "supply:appliances:confirm": _("确认电器已关闭"),
        "supply:mass:control": _("批量停送电"),
        "supply:emergency:give": _("给予应急供电"),
        "supply:emergency:set": _("设置应急供电额度"),
        "supply:stop:freeze": _("冻结自动停供"),
        "supply:stop:unfreeze": _("解除停供冻结"),
    }


def _collection_deeds() -> dict[str, str]:
    return {
        "collection:call:note": _("记录催缴通话"),
        "collection:steward:assign": _("分配楼栋"),
        "collection:steward:withdraw": _("收回楼栋"),
    }


def _meter_deeds() -> dict[str, str]:
    return {
        "meters:control:bypass": _("断路器旁路"),
        "meters:control:engage": _("断路器投入控制"),
        "meters:guarantee:set": _("设置保电"),
        "meters:readings:load": _("抄表导入"),
        "reading:case:settle": _("核对异常示数"),
    }


def _person_deeds() -> dict[str, str]:
    return {
        "person:phone:unmask": _("查看完整手机号"),
        "person:document:unmask": _("查看完整证件号"),
        "person:account:unmask": _("查看完整银行账号"),
        "person:data:change": _("修改客户资料"),
        "person:data:export": _("导出客户个人信息"),
        "person:data:erase": _("删除客户个人信息"),
    }


def _platform_deeds() -> dict[str, str]:
    return {
        "api:token:issue": _("签发 API 令牌"),
        "api:token:revoke": _("撤销 API 令牌"),
        "platform:key:rotate": _("开始更换数据密钥"),
        "platform:key:rotated": _("数据密钥更换完成"),
        "platform:key:rewrap": _("重新加封数据密钥"),
        "audit:log:export": _("导出审计日志"),
        "report:table:export": _("导出表格"),
        "audit:log:retire": _("归档审计日志"),
        "audit:anchor:restore": _("登记数据库恢复"),
        "api:token:use": _("API 令牌使用被拒绝"),
        "api:webhook:add": _("登记推送地址"),
        "api:webhook:change": _("修改推送地址"),
        "api:webhook:disable": _("停用推送地址"),
        "api:webhook:enable": _("启用推送地址"),
        "api:webhook:ping": _("发送测试推送"),
        "api:webhook:remove": _("移除推送地址"),
        "api:webhook:resend": _("重新推送"),
        "api:webhook:rotate": _("更换推送签名密钥"),
    }


def result_words(result: str) -> str:
    """How it ended."""
    return {"done": _("完成"), "refused": _("被拒绝"), "failed": _("失败")}.get(result, result)


def subject_words(subject: str) -> str:
    """What it was done to: the kind in words, then its number."""
    kind, _colon, id_ = subject.partition(":")
    words = {
        "users": _("账号"),
        "supply_accounts": _("用能户"),
        "tenants": _("集团"),
        "stops": _("停供"),
        "price_versions": _("电价版本"),
        "nodes": _("组织节点"),
        "api_tokens": _("API 令牌"),
        "webhook_endpoints": _("推送地址"),
        "counter_pcs": _("柜台电脑"),
        "oidc_providers": _("企业登录"),
        "security_policies": _("安全策略"),
        "approvals": _("审批"),
        "own_roles": _("自定义角色"),
        "mounts": _("表计安装"),
        "readings": _("示数"),
        "reading_cases": _("待核对的示数"),
        "payments": _("收款"),
        "import_batches": _("导入批次"),
        "seal_blocks": _("封存区块"),
        "properties": _("项目"),
        "parties": _("客户"),
        "audit_records": _("审计记录"),
        "routes": _("页面"),
    }
    shown = words.get(kind, kind)
    return shown if id_ in {"*", "self", ""} else f"{shown} {id_}"


def field_words(field: str) -> str:
    """A field of a change."""
    words = {
        "amount_fen": _("金额"),
        "available_fen": _("可用余额"),
        "amount_max": _("金额上限"),
        "channel": _("收款方式"),
        "role": _("角色"),
        "node_id": _("组织节点"),
        "permissions": _("权限"),
        "price": _("单价"),
        "plan_id": _("电价方案"),
        "effective_from": _("生效时间"),
        "expires_at": _("到期时间"),
        "ends_at": _("到期时间"),
        "flag": _("异常类型"),
        "register_wh": _("示数（瓦时）"),
        "rows": _("行数"),
        "stored": _("入库数"),
        "counts": _("数量"),
        "supply_account_id": _("用能户"),
        "meter_id": _("表计"),
        "command_id": _("控制命令"),
        "stop_ids": _("停供"),
        "basis": _("依据"),
        "verdict": _("判定"),
        "state": _("状态"),
        "reason": _("原因"),
        "factor": _("身份验证"),
        "file_digest": _("文件摘要"),
        "name": _("名称"),
        "url": _("地址"),
        "kinds": _("事件"),
        "disabled": _("已停用"),
        "format": _("文件格式"),
        "conditions": _("筛选条件"),
        "sha256": _("文件摘要"),
        "records": _("记录数"),
        "code": _("拒绝代码"),
        "permission": _("权限"),
        "method": _("请求方式"),
        "status": _("响应状态"),
        "by": _("经办"),
        "how": _("方式"),
        "kind": _("类型"),
        "which": _("哪一个"),
        "view": _("页面"),
        "first_block": _("首个区块"),
        "last_block": _("末个区块"),
        "outcome": _("结果"),
        "second_factor_required": _("要求二次验证"),
        "session_hours_max": _("会话最长时数"),
        "session_idle_min": _("空闲分钟数"),
        "approval_hours_max": _("审批有效时数"),
        "audit_keep_days": _("日志保留天数"),
    }
    return words.get(field, field)


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[tuple[str, str, str, bool]]:
    """(field, was, became, whether that is a change) for every field of either side."""
    was, became = before or {}, after or {}
    fields = [*was, *(field for field in became if field not in was)]
    return [
        (field_words(f), _value(f, was.get(f)), _value(f, became.get(f)), was.get(f) != became.get(f)) for f in fields
    ]


def fact_rows(facts: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(what, how) of further facts."""
    return [(field_words(field), _value(field, value)) for field, value in (facts or {}).items()]


def _value(field: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return _("是") if value else _("否")
    if isinstance(value, int):
        return yuan(value) if field.endswith("_fen") else str(value)
    if isinstance(value, Mapping):
        return "；".join(f"{field_words(k)} {_value(k, v)}" for k, v in value.items())
    if isinstance(value, list):
        return "、".join(_value(field, one) for one in value)
    return _instant(str(value))


def _instant(said: str) -> str:
    """An instant in the properties' zone; everything else as it is."""
    try:
        at = datetime.fromisoformat(said) if len(said) > 18 else None
    except ValueError:
        at = None
    return moment(at) if at is not None and at.tzinfo else said


def install_audit_words(app: Flask) -> None:
    """Add the filters to the templates."""
    app.jinja_env.filters.update(audit_deed=deed_words, audit_result=result_words, audit_subject=subject_words)
