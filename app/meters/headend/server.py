"""The listener gateways dial in to: who says a known number and its secret is let in, everybody else is cut off."""

import asyncio
import logging

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.meters.drivers.base import FrameError
from app.meters.drivers.dialin import Registration, RegistrationReader
from app.meters.headend.blocking import Blocking
from app.meters.headend.bus import Bus
from app.meters.headend.leases import GatewayRefused, admit
from app.meters.headend.registry import Registry
from app.tenants.models import DirectoryEntry

REGISTER_WITHIN_S = 10.0
#: Connections that have not registered yet, in all and from one address. One more cuts the oldest: a gateway registers at
#: once, so whoever waited longest is the least likely to be one.
STRANGERS_MAX = 200
STRANGERS_PER_ADDRESS_MAX = 50

log = logging.getLogger(__name__)


class DialInServer:
    """Accepts connections and hands registered ones to the registry."""

    def __init__(self, *, blocking: Blocking, registry: Registry) -> None:
        self._blocking, self._registry = blocking, registry
        #: Who has not registered yet and from where, the oldest first.
        self._strangers: dict[asyncio.StreamWriter, str] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its registration to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._serve(reader, writer)
        except GatewayRefused as refused:
            log.warning("%s", refused)
        except (FrameError, TimeoutError, OSError) as stranger:
            log.info("a connection did not register: %s", type(stranger).__name__)
        except SQLAlchemyError as away:
            log.warning("registration not looked up: %s", type(away).__name__)
        finally:
            writer.close()
            self._serving.discard(task)

    async def finish(self, *, within_s: float) -> None:
        """Wait until the connections that were served have ended; cut the rest."""
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=within_s)
            for task in late:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._let_in(writer)
        try:
            async with asyncio.timeout(REGISTER_WITHIN_S):
                registration, rest = await _registration(reader)
                tenant_id, gateway_id = await self._look_up(registration)
        finally:
            self._strangers.pop(writer, None)
        await self._registry.serve(tenant_id, gateway_id, Bus(reader, writer), rest)

    def _let_in(self, writer: asyncio.StreamWriter) -> None:
        """Count a stranger in; cut the oldest of its address, or of all, when there are too many."""
        address = str((writer.get_extra_info("peername") or ("",))[0])
        neighbours = [known for known, at in self._strangers.items() if at == address]
        if len(neighbours) >= STRANGERS_PER_ADDRESS_MAX:
            self._cut(neighbours[0])
        elif len(self._strangers) >= STRANGERS_MAX:
            self._cut(next(iter(self._strangers)))
        self._strangers[writer] = address

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        del self._strangers[writer]
        writer.transport.abort()

    async def _look_up(self, registration: Registration) -> tuple[int, int]:
        number = registration.number
        tenant_id = await self._blocking.call(lambda: tenant_of_gateway(self._blocking.db, number=number))
        if tenant_id is None:
            raise GatewayRefused(number=number, reason="not_provisioned")
        gateway_id = await self._blocking.run(tenant_id, admit, number=number, secret=registration.secret)
        return tenant_id, gateway_id


def tenant_of_gateway(db: Database, *, number: str) -> int | None:
    """Whose gateway carries this number, by the directory; None for an unprovisioned one."""
    digest = directory_digest("gateway", number)
    with db.without_tenant() as connection:
        return connection.scalar(
            select(DirectoryEntry.tenant_id).where(DirectoryEntry.digest == digest, DirectoryEntry.kind == "gateway")
        )


async def _registration(reader: asyncio.StreamReader) -> tuple[Registration, bytes]:
    """The registration packet and the bytes after it. Raises FrameError, ConnectionResetError at an early end."""
    packet = RegistrationReader()
    while chunk := await reader.read(256):
        done = packet.feed(chunk)
        if done is not None:
            return done
    raise ConnectionResetError
