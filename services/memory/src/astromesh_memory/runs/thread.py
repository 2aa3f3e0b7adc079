"""The one thread in which the ledger is read and written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from astromesh_core.bus.positions import Position
from astromesh_core.errors import Unavailable
from astromesh_memory.runs.changes import Kind
from astromesh_memory.runs.ledger import Expired, KeptAt, Ledger, LedgerChange, RunRow, Touched
from astromesh_memory.runs.scopes import Among

Value = TypeVar("Value")


class LedgerThread:
    """Runs calls on the ledger, one after the other, in their order. See `Ledger` for what each does."""

    def __init__(self, ledger: Ledger, thread: ThreadPoolExecutor) -> None:
        self._ledger = ledger
        self._thread = thread

    async def apply(self, changes: Sequence[LedgerChange], position: Position) -> list[Touched]:
        return await self._run(lambda: self._ledger.apply(changes, position))

    async def rows(self, namespace: str, agent: str) -> list[RunRow]:
        return await self._run(lambda: self._ledger.rows(namespace, agent))

    async def row(self, run_id: str) -> RunRow | None:
        return await self._run(lambda: self._ledger.row(run_id))

    async def any(self, namespace: str, agent: str, kind: Kind, among: Among) -> bool:
        keys = (among.owner_key, among.session_key)
        return await self._run(lambda: self._ledger.any(namespace, agent, kind, *keys))

    async def of_session(self, namespace: str, session_key: str) -> list[RunRow]:
        return await self._run(lambda: self._ledger.of_session(namespace, session_key))

    async def of_user(self, namespace: str, user_key: str) -> list[RunRow]:
        return await self._run(lambda: self._ledger.of_user(namespace, user_key))

    async def those(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        return await self._run(lambda: self._ledger.those(run_ids))

    async def replace(self, namespace: str, agent: str, rows: Sequence[RunRow], open_runs: Collection[str]) -> None:
        await self._run(lambda: self._ledger.replace(namespace, agent, rows, open_runs))

    async def expired(self, namespace: str, agent: str, kind: Kind, until_unix_nano: int, most: int) -> list[Expired]:
        return await self._run(lambda: self._ledger.expired(namespace, agent, kind, until_unix_nano, most))

    async def places(self) -> set[KeptAt]:
        return await self._run(self._ledger.places)

    async def note_place(self, place: KeptAt) -> None:
        await self._run(lambda: self._ledger.note_place(place))

    async def leave_place(self, place: KeptAt) -> None:
        await self._run(lambda: self._ledger.leave_place(place))

    async def position(self) -> Position:
        return await self._run(self._ledger.position)

    async def open_runs(self) -> set[str]:
        return await self._run(self._ledger.open_runs)

    async def drop(self) -> None:
        await self._run(self._ledger.drop)

    async def _run(self, call: Callable[[], Value]) -> Value:
        """Raises Unavailable where the file cannot be used for now: the disk is full."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the ledger of remembered runs cannot be used: {error}", retry_after=1.0) from error


@asynccontextmanager
async def open_ledger(path: Path | None) -> AsyncGenerator[LedgerThread]:
    """Opens the file, or makes it; closes it after the last call. None keeps it in memory."""
    with ThreadPoolExecutor(1, thread_name_prefix="remembered") as thread:
        loop = asyncio.get_running_loop()
        ledger = await loop.run_in_executor(thread, Ledger, path)
        try:
            yield LedgerThread(ledger, thread)
        finally:
            await loop.run_in_executor(thread, ledger.close)
