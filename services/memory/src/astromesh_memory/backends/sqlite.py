"""Conversations in a SQLite file, in the one thread that reads and writes it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from astromesh_core.conversations import Advance, AgentKey, Change, Place, Recalled, Session, Turn
from astromesh_core.errors import Unavailable
from astromesh_memory.backends.sqlite_file import ConversationFile

Value = TypeVar("Value")
Params = ParamSpec("Params")


class SqliteConversations:
    """One file, which may be deleted at any time and comes back from the log. A ConversationStore."""

    def __init__(self, file: ConversationFile, thread: ThreadPoolExecutor) -> None:
        """`open` makes one."""
        self._file = file
        self._thread = thread
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteConversations:
        """Opens the file, or makes it; the caller closes."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="conversations")
        try:
            file = await asyncio.get_running_loop().run_in_executor(thread, ConversationFile, path)
        except (sqlite3.Error, OSError) as error:
            thread.shutdown(wait=False)
            raise Unavailable(f"sqlite: {path}: {error}", retry_after=1.0) from error
        return cls(file, thread)

    async def followed(self) -> Mapping[AgentKey, bytes]:
        """See ConversationStore, as for all that follows."""
        return await self._run(self._file.followed)

    async def follow(self, agent: AgentKey, position: bytes) -> None:
        await self._run(self._file.follow, agent, position)

    async def apply(self, changes: Sequence[Change], advances: Sequence[Advance]) -> Collection[AgentKey]:
        return await self._run(self._file.apply, changes, advances)

    async def last(self, agent: AgentKey, session_key: str, most: int) -> Recalled:
        return await self._run(self._file.last, agent, session_key, most)

    async def page(self, namespace: str, session_key: str, after: Place, most: int) -> Sequence[Turn]:
        return await self._run(self._file.page, namespace, session_key, after, most)

    async def sessions(self, agent: AgentKey, before: tuple[int, str] | None, most: int) -> Sequence[Session]:
        return await self._run(self._file.sessions, agent, before, most)

    async def idle(self, agent: AgentKey, until_unix_nano: int, most: int) -> Sequence[Session]:
        return await self._run(self._file.idle, agent, until_unix_nano, most)

    async def of_user(self, namespace: str, user_key: str) -> Sequence[Session]:
        return await self._run(self._file.of_user, namespace, user_key)

    async def drop(self, agent: AgentKey) -> None:
        await self._run(self._file.drop, agent)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._run(self._file.close)
            self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[Params, Value], *args: Params.args, **kwargs: Params.kwargs) -> Value:
        # A caller that is cancelled leaves the call running to its end.
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))
        except sqlite3.Error as error:
            raise Unavailable(f"sqlite: {error}", retry_after=1.0) from error
