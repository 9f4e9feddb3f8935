"""The API described by itself: `GET /api/v1/openapi.json`, made from the schemas that read and write it."""

from functools import cache
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask.typing import ResponseReturnValue
from marshmallow import Schema, fields

from app.web.api.readings import AnswerSchema, BatchSchema, blueprint
from app.web.guards import public

__all__ = ["blueprint", "specification"]


class FaultSchema(Schema):
    """What went wrong: a code for machines, words for people, a number to quote."""

    code = fields.String(required=True)
    message = fields.String(required=True)
    reference = fields.String(required=True)


class RefusalSchema(Schema):
    """The body of every refusal."""

    error = fields.Nested(FaultSchema, required=True)


_REFUSALS = {
    "400": "The body is not JSON, or nested too deeply.",
    "401": "No token, an unknown one, or one whose time is over.",
    "403": "The token does not hold the permission, or may not come from this address.",
    "404": "The property named is not the token's.",
    "409": "The key was used for another batch.",
    "413": "Too many bytes or rows.",
    "422": "The key is missing, or the batch is not in the agreed form.",
    "429": "Too often; Retry-After says in how many seconds to try again.",
}


@cache
def specification() -> dict[str, Any]:
    """The OpenAPI 3 document."""
    spec = APISpec("Tallyhouse API", "1", "3.0.3", plugins=[MarshmallowPlugin()])
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    spec.path("/api/v1/readings", operations={"post": _take_readings()})
    return spec.to_dict()


def _take_readings() -> dict[str, Any]:
    key = {"in": "header", "name": "Idempotency-Key", "required": True}
    refusals = {status: _answer(words, RefusalSchema) for status, words in _REFUSALS.items()}
    return {
        "summary": "Take a batch of readings, once per key, with one result per row.",
        "security": [{"token": []}],
        "parameters": [key | {"schema": {"type": "string", "minLength": 1, "maxLength": 120}}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": BatchSchema}}},
        "responses": {"200": _answer("Every row has its result.", AnswerSchema), **refusals},
    }


def _answer(words: str, schema: type[Schema]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


@blueprint.get("/openapi.json")
@public
def openapi() -> ResponseReturnValue:
    """The description of this API."""
    return specification()
