"""Opens the backends of conversations. The only place that names their classes; drivers are imported when needed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from astromesh_core.conversations import ConversationStore
from astromesh_core.errors import NotSupported
from astromesh_core.resources.class_paths import is_class_path
from astromesh_core.resources.extras import CONVERSATION_EXTRAS
from astromesh_core.resources.secrets import resolve
from astromesh_memory.backends.sqlite import SqliteConversations
from astromesh_memory.placing import Target, address_of
from astromesh_vectors.own_classes import OwnClasses

Opener = Callable[[Target], Awaitable[ConversationStore]]


class Backends:
    """Opens each target anew; the caller closes. `folder` is where SQLite's file lies, `mesh` sets this mesh's part of
    a shared server apart from another's."""

    def __init__(self, folder: Path, mesh: str, own: OwnClasses | None = None) -> None:
        """`own` makes objects of users' classes, and stays the caller's."""
        self._folder = folder
        self._mesh = mesh
        self._own = own

    async def open(self, target: Target) -> ConversationStore:
        """Raises Unavailable where it is away, InvalidInput for a wrong address or a variable that is not set, and
        NotSupported where its driver is not installed."""
        extra = CONVERSATION_EXTRAS.get(target.backend)
        if extra is not None and not extra.installed:
            raise NotSupported(f"{target.backend}: {extra.missing}; {extra.advice}")
        match target.backend:
            case "sqlite":
                return await SqliteConversations.open(self._folder / "conversations.sqlite")
            case "redis":
                from astromesh_memory.backends.redis import RedisConversations

                return await RedisConversations.open(address_of(target, os.environ), self._mesh)
            case path if is_class_path(path):
                return await self._of_a_user(path, target)
            case _:
                from astromesh_memory.backends.postgres import PostgresConversations

                return await PostgresConversations.open(address_of(target, os.environ), self._mesh)

    async def _of_a_user(self, path: str, target: Target) -> ConversationStore:
        from astromesh_memory.backends.own import OwnConversations

        if self._own is None:
            raise NotSupported(f"{path}: users' classes are not served here")
        connection = target.connection
        url = "" if connection is None or connection.url is None else resolve(connection.url, os.environ)
        return await OwnConversations.open(path, self._own, url, self._mesh)
