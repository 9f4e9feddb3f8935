"""Error pages: what happened, why, what to do, and a number to quote."""

import logging
import secrets
from typing import Any

from flask import Flask, Response, g, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from psycopg.errors import DeadlockDetected, SerializationFailure
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException, SecurityError

from app.kernel.errors import AppError
from app.web.refusals import say_refused
from app.web.words import _, locale

log = logging.getLogger(__name__)
TRY_AGAIN_AFTER_S = 2
ICONS = {403: "lock", 404: "map-pin", 409: "copy", 422: "alert-circle", 429: "hourglass", 503: "refresh"}


def install_faults(app: Flask) -> None:
    """Answer every failure with a page, a part or a JSON body in the right language."""
    app.register_error_handler(AppError, _refused)
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(SecurityError, _strange_host)
    app.register_error_handler(HTTPException, _plain)
    app.register_error_handler(OperationalError, _busy)
    for met in (DeadlockDetected, SerializationFailure):
        app.register_error_handler(met, _met_another)
    app.register_error_handler(Exception, _broken)


def _refused(error: AppError) -> Response:
    say_refused(error.code, error.status)
    return _answer(error.status, error.code, _title(error.status), error.message(locale()))


def _forged(error: CSRFError) -> Response:
    say_refused("form_expired", 403)
    words = _("页面打开太久或登录已更换。请刷新页面后重新提交，本次没有执行任何操作。")
    return _answer(403, "form_expired", _("这张表单已失效"), words)


def _plain(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]
    return _answer(status, f"http_{status}", _title(status), _explain(status))


def _strange_host(error: SecurityError) -> Response:
    """No page: links cannot be built for a host that is not ours."""
    return Response("unknown host 未知主机名\n", 400, content_type="text/plain; charset=utf-8")


def _busy(error: OperationalError) -> Response:
    if isinstance(error.orig, (DeadlockDetected, SerializationFailure)):
        return _met_another(error)
    log.exception("%s: the database is unavailable", _reference())
    words = _("数据库暂时没有应答，本次没有执行任何操作。请稍候片刻再试。")
    return _answer(503, "database_unavailable", _("系统暂时繁忙"), words)


def _met_another(error: Exception) -> Response:
    """PostgreSQL gave this one way to another: nothing was written, and the form's key makes a second try safe."""
    log.warning("%s: gave way to another transaction at %s %s", _reference(), request.method, request.url_rule)
    words = _("系统正忙，本次没有执行任何操作。请稍候几秒，再提交一次；同一张表单不会重复入账。")
    answer = _answer(503, "busy_try_again", _("系统暂时繁忙"), words)
    answer.headers["Retry-After"] = str(TRY_AGAIN_AFTER_S)
    return answer


def _broken(error: Exception) -> Response:
    log.exception("%s: unexpected failure at %s %s", _reference(), request.method, request.url_rule)
    return _answer(500, "unexpected", _title(500), _explain(500))


def _reference() -> str:
    if "reference" not in g:
        g.reference = secrets.token_hex(4).upper()
    return str(g.reference)


def _title(status: int) -> str:
    titles = {
        401: _("请先登录"), 403: _("没有这项权限"), 404: _("没有找到"), 409: _("与现有记录冲突"), 413: _("文件太大"),
        422: _("填写内容有误"), 429: _("操作太频繁"), 500: _("系统出错了"),
    }  # fmt: skip
    return titles.get(status, _("操作未完成"))


def _explain(status: int) -> str:
    words = {
        403: _("您的账号不能执行这项操作。如工作需要，请联系集团管理员授权。"),
        404: _("页面或记录不存在，或不在您的权限范围内。请核对地址，或从左侧导航重新进入。"),
        413: _("一次最多上传 8 MB。请拆分文件后分批导入。"),
        429: _("请稍候片刻再试。"),
        500: _("本次操作没有保存。请重试；如仍出错，把参考号告诉系统管理员。"),
    }
    return words.get(status, _("本次没有执行任何操作。请返回上一页重试。"))


def _answer(status: int, code: str, title: str, words: str) -> Response:
    reference = _reference()
    details: dict[str, Any] = {"title": title, "words": words, "reference": reference}
    if request.path.startswith("/api/"):
        body: Any = {"error": {"code": code, "message": words, "reference": reference}}
        return make_response(body, status)
    if request.headers.get("HX-Request"):
        part = make_response(render_template("parts/fault.html", **details), status)
        part.headers.update({"HX-Retarget": "#flash", "HX-Reswap": "innerHTML"})
        return part
    page = "resident/error.html" if request.path.startswith("/r/") else "error.html"
    return make_response(render_template(page, icon=ICONS.get(status, "alert-triangle"), **details), status)
