"""`POST /api/v1/readings`: a batch of readings from another system, with a token that is bound to one property.

The envelope is a marshmallow schema; its thousands of rows go through a parser of their own, because a schema takes
longer for a row than the database does. A bad row is named in its own result and takes no other row with it.
"""

import hashlib
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate
from sqlalchemy import select
from sqlalchemy.orm import Session
from webargs.flaskparser import FlaskParser

from app.kernel.db import database
from app.kernel.errors import AppError, Forbidden
from app.kernel.quantity import parse_register
from app.kernel.unit_of_work import unit_of_work
from app.meters.batches import BatchRow, Row, take_batch
from app.permissions.policy import Permission
from app.permissions.tokens import ApiActor, find_token
from app.tenants.access import or_not_found, within
from app.tenants.models import Node
from app.web.bodies import refuse_deep
from app.web.guards import public

ROWS_MAX = 5_000
REGISTERS = ("total", "sharp", "peak", "flat", "valley")
REGISTER_WH_MAX = 10**13
_FIELDS = frozenset({"meter", "read_at", "register_wh", "register_kwh", "register"})

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


class TokenMissing(AppError):
    """No bearer token came with the request."""

    code, status = "token_missing", 401
    message_zh = "缺少 API 令牌。请在 Authorization 头中以 Bearer 方式提供。"
    message_en = "There is no API token. Send it as a bearer token in the Authorization header."


class KeyMissing(AppError):
    """A batch without an Idempotency-Key could count twice."""

    code, status = "idempotency_key_missing", 422
    message_zh = "缺少 Idempotency-Key 头。请为每批数据使用一个不重复的编号（1–120 个字符），重试时保持不变。"
    message_en = "The Idempotency-Key header is missing. Use one of 1–120 characters per batch and keep it on a retry."


class BodyUnreadable(AppError):
    """The body is not JSON."""

    code, status = "body_unreadable", 400
    message_zh = "请求体不是 JSON。请以 application/json 发送。"
    message_en = "The body is not JSON. Send application/json."


class BatchInvalid(AppError):
    """The envelope of the batch is wrong; nothing was taken."""

    code, status = "batch_invalid", 422
    message_zh = "批次格式有误：{where}。未接收任何数据，请按 /api/v1/openapi.json 修改。"
    message_en = "The batch is not in the agreed form: {where}. Nothing was taken; see /api/v1/openapi.json."


class BatchTooLarge(AppError):
    """More rows than one batch takes."""

    code, status = "batch_too_large", 413
    message_zh = "每批最多 {rows_max} 行。请拆分后发送。"
    message_en = "A batch takes {rows_max} rows at most. Split it."


class PropertyNotNamed(AppError):
    """The token reaches several properties, so the batch must say which one it is of."""

    code, status = "property_not_named", 422
    message_zh = "该令牌覆盖多个项目。请在批次的 property 字段写明项目编号（UUID），未接收任何数据。"
    message_en = "This token reaches several properties. Name one in the batch's `property` field; nothing was taken."


class ReadingSchema(Schema):
    """One row; `register_wh` or `register_kwh` must be there. Describes rows, which `parse_row` reads."""

    class Meta:
        unknown = EXCLUDE

    meter = fields.String(required=True, metadata={"description": "Number on the plate."})
    read_at = fields.AwareDateTime(required=True, metadata={"description": "ISO 8601 with its offset."})
    register_wh = fields.Integer(metadata={"description": "Register in Wh (litres for water), before the ratio."})
    register_kwh = fields.String(metadata={"description": "The same as the meter shows it, e.g. 1234.56."})
    register = fields.String(load_default="total", validate=validate.OneOf(REGISTERS))


class Rows(fields.List[Any]):
    """A list of rows, each parsed by hand; never fails for what a row says."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise ValidationError("a list with at least one row is needed")
        if len(value) > ROWS_MAX:
            raise BatchTooLarge(rows_max=ROWS_MAX)
        return [parse_row(row) for row in value]


class BatchSchema(Schema):
    """The envelope."""

    class Meta:
        unknown = RAISE

    property = fields.UUID(
        metadata={"description": "Public id of the property; needed when the token reaches more than one."}
    )
    readings = Rows(fields.Nested(ReadingSchema), required=True)


class RowResultSchema(Schema):
    """What became of a row."""

    row = fields.Integer(required=True)
    status = fields.String(
        required=True, validate=validate.OneOf(("stored", "duplicate", "case", "refused")),
        metadata={"description": "case: kept for a person, not billed."},
    )  # fmt: skip
    flag = fields.String(required=True, metadata={"description": "ok, first, gap, negative, meter_unknown …"})


class AnswerSchema(Schema):
    """The answer to a batch."""

    replayed = fields.Boolean(required=True, metadata={"description": "An earlier request with this key had done it."})
    counts = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    rows = fields.List(fields.Nested(RowResultSchema), required=True)


class BatchParser(FlaskParser):
    """Reads the envelope and raises our refusals."""

    def handle_error(self, error: ValidationError, *args: Any, **kwargs: Any) -> Any:
        """Raises BatchInvalid."""
        raise BatchInvalid(where=str(error.messages)[:400]) from error


parser = BatchParser()


def parse_row(raw: Any) -> Row:
    """A row of a batch, or the name of what is wrong with it."""
    if type(raw) is not dict:
        return "row_not_an_object"
    if not raw.keys() <= _FIELDS:
        return "field_unknown"
    number, register = raw.get("meter"), raw.get("register", "total")
    if type(number) is not str or not 0 < len(number) <= 32 or not number.isprintable():
        return "meter_missing"
    if register not in REGISTERS:
        return "register_unknown"
    read_at = _instant(raw.get("read_at"))
    if isinstance(read_at, str):
        return read_at
    register_wh = _register_wh(raw)
    return register_wh if isinstance(register_wh, str) else BatchRow(number, read_at, register_wh, register)


def _instant(raw: Any) -> datetime | str:
    try:
        read_at = datetime.fromisoformat(raw)
    except (TypeError, ValueError):
        return "read_at_unreadable"
    # Near the ends of the calendar an offset leads out of it.
    if not 1970 <= read_at.year < 9999:
        return "read_at_unreadable"
    return "read_at_without_offset" if read_at.utcoffset() is None else read_at


def _register_wh(raw: dict[str, Any]) -> int | str:
    register_wh = raw.get("register_wh")
    if type(register_wh) is int and "register_kwh" not in raw:
        return register_wh if 0 <= register_wh < REGISTER_WH_MAX else "register_unreadable"
    shown = raw.get("register_kwh")
    if register_wh is not None or type(shown) is not str:
        return "register_unreadable" if raw.keys() & {"register_wh", "register_kwh"} else "register_missing"
    try:
        return parse_register(shown)
    except AppError as wrong:
        return wrong.code


@blueprint.post("/readings")
@public
def take() -> ResponseReturnValue:
    """Take a batch of readings."""
    caller = _caller(Permission.READING_IMPORT_LOAD)
    key = request.headers.get("Idempotency-Key", "")
    if not 0 < len(key) <= 120 or not key.isprintable():
        raise KeyMissing
    _check_json()
    batch = parser.parse(BatchSchema(), request, location="json")
    fingerprint = hashlib.sha256(request.get_data()).digest()
    with unit_of_work(caller.tenant_id) as session:
        answer = take_batch(
            session,
            property_id=_property(session, caller, batch.get("property")),
            idempotency_key=key,
            fingerprint=fingerprint,
            rows=batch["readings"],
        )
    rows = [{"row": n, "status": r.status, "flag": r.flag} for n, r in enumerate(answer.results)]
    counts = Counter(result.status for result in answer.results)
    return {"replayed": answer.replayed, "counts": counts, "rows": rows}


def _check_json() -> None:
    """Raises BodyUnreadable, BodyTooDeep."""
    try:
        said = request.get_json(silent=True) if request.is_json else None
    except RecursionError:
        said = None
    if said is None:
        raise BodyUnreadable
    refuse_deep(said)


def _caller(permission: Permission) -> ApiActor:
    """Whose token it is. Raises TokenMissing, TokenUnknown, TokenExpired, TokenFromElsewhere, Forbidden."""
    scheme, _, raw = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not raw.strip():
        raise TokenMissing
    caller = find_token(database(), raw.strip(), address=request.remote_addr)
    g.api_actor = caller
    if permission not in caller.permissions:
        raise Forbidden(permission=permission)
    return caller


def _property(session: Session, caller: ApiActor, named: UUID | None) -> int:
    """The property of a batch: the token's only one, or the one named. Raises PropertyNotNamed, NotFound.

    One that is not the token's and one that is not there answer alike.
    """
    if named is None:
        if len(caller.property_ids) != 1:
            raise PropertyNotNamed
        return min(caller.property_ids)
    known = select(Node.id).where(Node.public_id == named, within(Node.id, caller.property_ids))
    return or_not_found(session.scalar(known))
