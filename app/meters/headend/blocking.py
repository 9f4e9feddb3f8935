"""Blocking use-cases in a thread pool, each in its own unit of work, so that sockets never wait for the database."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work

Facts = ParamSpec("Facts")
Result = TypeVar("Result")


class Blocking:
    """Runs use-cases for tenants on threads."""

    def __init__(self, db: Database, *, threads: int) -> None:
        self.db = db
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="headend")

    async def run(
        self,
        tenant_id: int,
        use_case: Callable[Concatenate[Session, Facts], Result],
        *args: Facts.args,
        **facts: Facts.kwargs,
    ) -> Result:
        """One use-case in one unit of work; raises what it raises."""

        def work() -> Result:
            with unit_of_work(tenant_id, db=self.db) as session:
                return use_case(session, *args, **facts)

        return await self.call(work)

    async def call(self, work: Callable[[], Result]) -> Result:
        """Any blocking function on a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Wait for what is running and take nothing more."""
        self._pool.shutdown(wait=True)
