"""A user's own backend of conversations: `backend: "my_package.my_module:MyConversations"`.

The class is found in the config folder's `conversations/`, then on the Python path. It is made in a thread, with the
keyword arguments of `ConversationsClass`; what it offers is `astromesh_core.conversations.ConversationStore`. Its
methods run on the service's event loop, which they must not block. `astromesh_testing.contracts.conversations` says
whether it is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeVar, cast

from astromesh_core.conversations import (
    Advance,
    AgentKey,
    Change,
    ConversationStore,
    Place,
    Recalled,
    Session,
    Turn,
)
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_vectors.own_classes import Own, OwnClasses

METHODS: Final = (
    "followed",
    "follow",
    "apply",
    "last",
    "page",
    "sessions",
    "idle",
    "of_user",
    "drop",
    "close",
)
ANSWER_SECONDS: Final = 10.0

Value = TypeVar("Value")


class ConversationsClass(Protocol):
    """How a backend is made. `url` is the declared connection's, with its secrets, and "" where none is declared;
    `mesh` sets this mesh's rows apart from another's."""

    def __call__(self, *, url: str, mesh: str) -> ConversationStore: ...


class OwnConversations:
    """One backend of a user's class. Whatever that raises, an error that names it is raised here."""

    def __init__(self, own: Own) -> None:
        """`open` makes one."""
        self._own = own
        self._store = cast("ConversationStore", own.made)

    @classmethod
    async def open(cls, path: str, classes: OwnClasses, url: str, mesh: str) -> OwnConversations:
        """Makes an object of the class. Raises InvalidInput where it is none, Unavailable where it does not answer."""

        def make(found: Callable[..., object]) -> object:
            return found(url=url, mesh=mesh)

        store = cls(await classes.make(path, make, METHODS, url))
        await store.followed()
        return store

    async def followed(self) -> Mapping[AgentKey, bytes]:
        """See ConversationStore, as for all that follows."""
        found = await self._call(lambda: self._store.followed())
        return {AgentKey(*agent): bytes(position) for agent, position in found.items()}

    async def follow(self, agent: AgentKey, position: bytes) -> None:
        await self._call(lambda: self._store.follow(agent, position))

    async def apply(self, changes: Sequence[Change], advances: Sequence[Advance]) -> Collection[AgentKey]:
        return [AgentKey(*agent) for agent in await self._call(lambda: self._store.apply(changes, advances))]

    async def last(self, agent: AgentKey, session_key: str, most: int) -> Recalled:
        return self._checked(await self._call(lambda: self._store.last(agent, session_key, most)), Recalled)

    async def page(self, namespace: str, session_key: str, after: Place, most: int) -> Sequence[Turn]:
        return await self._listed(lambda: self._store.page(namespace, session_key, after, most), Turn)

    async def sessions(self, agent: AgentKey, before: tuple[int, str] | None, most: int) -> Sequence[Session]:
        return await self._listed(lambda: self._store.sessions(agent, before, most), Session)

    async def idle(self, agent: AgentKey, until_unix_nano: int, most: int) -> Sequence[Session]:
        return await self._listed(lambda: self._store.idle(agent, until_unix_nano, most), Session)

    async def of_user(self, namespace: str, user_key: str) -> Sequence[Session]:
        return await self._listed(lambda: self._store.of_user(namespace, user_key), Session)

    async def drop(self, agent: AgentKey) -> None:
        await self._call(lambda: self._store.drop(agent))

    async def close(self) -> None:
        await self._own.close()

    async def _listed(self, work: Callable[[], Awaitable[Sequence[Value]]], kind: type[Value]) -> list[Value]:
        return [self._checked(one, kind) for one in await self._call(work)]

    def _checked(self, value: object, kind: type[Value]) -> Value:
        if isinstance(value, kind):
            return value
        raise InvalidInput(f"{self._own.path}: gave a {type(value).__name__} where a {kind.__name__} belongs")

    async def _call(self, work: Callable[[], Awaitable[Value]]) -> Value:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._own.call(work)
        except TimeoutError:
            message = f"{self._own.path}: did not answer within {ANSWER_SECONDS:.0f} s"
            raise Unavailable(message, retry_after=1.0) from None
