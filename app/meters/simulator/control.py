"""The control port of the street: one JSON object a line, one JSON object back, on loopback only.

{"gateway": "GW0001", "set": {"offline": true}}     {"meter": "000000000001", "set": {"answer": "ack_only"}}
{"query": "000000000001"}  {"query": "GW0001"}      {"meter": "000000000001", "press": true}
{"query": "street"}                                 {"meter": "000000000001", "register_wh": 999999990}
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from app.kernel.errors import AppError

Obey = Callable[[Any], Awaitable[dict[str, Any]]]


class StreetRefused(AppError):
    """The street did not do what it was asked, or is not there."""

    code = "street_refused"
    status = 502
    message_zh = "模拟街区未执行：{reason}。请确认模拟街区进程在运行。"
    message_en = "The simulated street did not do it: {reason}. See that the street process is running."


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait until it is gone, however the other side took it."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def serve_control(host: str, port: int, obey: Obey) -> asyncio.Server:
    """Listen for requests; each is given to `obey`, its refusals go back as `{"error": code}`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, ValueError):  # ValueError: a line longer than the reader's limit
                while line := await reader.readline():
                    writer.write(json.dumps(await _answer(line, obey)).encode() + b"\n")
                    await writer.drain()
        finally:
            await hang_up(writer)

    return await asyncio.start_server(serve, host, port)


async def _answer(line: bytes, obey: Obey) -> dict[str, Any]:
    try:
        return await obey(json.loads(line))
    except AppError as refused:
        return {"error": refused.code, "message": refused.message("en")}
    except ValueError:
        return {"error": "bad_json", "message": "This line is not JSON."}


def ask(host: str, port: int, request: dict[str, Any], timeout_s: int = 5) -> dict[str, Any]:
    """Ask a running street for one thing and wait for its answer. Raises StreetRefused."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as line:
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as broken:
        raise StreetRefused(reason=str(broken)) from broken
    if "error" in answer:
        raise StreetRefused(reason=answer["message"])
    return dict(answer)
