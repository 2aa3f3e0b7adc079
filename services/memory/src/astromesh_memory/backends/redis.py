"""Conversations in Redis 6.2 or later, or what speaks like it. The scripts stand in `redis_scripts`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from astromesh_core.conversations import (
    START,
    Advance,
    AgentKey,
    Change,
    Forgotten,
    Place,
    Recalled,
    Remembered,
    Session,
    Summarised,
    Summary,
    Turn,
)
from astromesh_core.errors import Unavailable
from astromesh_core.resources.connections import BackendAddress
from astromesh_memory.backends import redis_scripts as scripts

CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 5.0
CONNECTIONS: Final = 32
"""At most, to one server; a call waits for a free one."""

_SESSIONS_A_DROP: Final = 200
_PLACE = tuple[bytes, bytes]


class RedisConversations:
    """One database, shared by all memory services of a mesh and by other meshes. A ConversationStore."""

    def __init__(self, client: Redis, shown: str, mesh: str) -> None:
        """`open` makes one."""
        self._client = client
        self._shown = shown
        self._prefix = f"{{astromesh:{mesh}}}:".encode()
        self._scripts = {text: client.register_script(text) for text in scripts.ALL}

    @classmethod
    async def open(cls, address: BackendAddress, mesh: str) -> RedisConversations:
        """Connects; `mesh` sets this mesh's keys apart from another's. The caller closes. Raises Unavailable."""
        # A plain pool fails the call for which it has no connection.
        pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - its keywords are not typed
            address.text,
            timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            max_connections=CONNECTIONS,
            # Once, for a connection that the server closed meanwhile; not for an answer that does not come in time.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            health_check_interval=0,
        )
        client = Redis.from_pool(pool)
        store = cls(client, address.shown, mesh)
        try:
            await store.followed()
        except BaseException:
            await client.aclose()
            raise
        return store

    async def followed(self) -> Mapping[AgentKey, bytes]:
        """See ConversationStore, as for all that follows."""
        async with self._answered():
            reply = cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall((self._prefix + b"agents").decode()))
            found = await reply
        return {_agent(name): _unhex(position) for name, position in found.items()}

    async def follow(self, agent: AgentKey, position: bytes) -> None:
        while not await self._run(scripts.FOLLOW, *agent, position.hex()):
            await self.drop(agent)

    async def apply(self, changes: Sequence[Change], advances: Sequence[Advance]) -> Collection[AgentKey]:
        words = [word for change in changes for word in _words(change)]
        for advance in advances:
            words += ("A", "/".join(advance.agent), advance.after.hex(), advance.upto.hex())
        if not words:
            return ()
        lacking = cast("list[bytes]", await self._run(scripts.APPLY, *words))
        return [_agent(name) for name in lacking]

    async def last(self, agent: AgentKey, session_key: str, most: int) -> Recalled:
        reply = await self._run(scripts.LAST, *agent, session_key, most)
        position, (time, through, text), places, values = cast(
            "tuple[bytes | None, tuple[bytes, bytes, bytes | None], list[bytes], list[bytes]]", reply
        )
        turns = [_turn(place, value) for place, value in zip(reversed(places), reversed(values), strict=True)]
        summary = None if text is None else Summary(through.decode(), int(time, 16), text)
        return Recalled(None if position is None else _unhex(position), turns, summary)

    async def page(self, namespace: str, session_key: str, after: Place, most: int) -> Sequence[Turn]:
        place = "" if after.position == START else _place(after.position, after.event_index)
        reply = await self._run(scripts.PAGE, namespace, session_key, place, most)
        places, values = cast("tuple[list[bytes], list[bytes]]", reply)
        return [_turn(place, value) for place, value in zip(places, values, strict=True)]

    async def sessions(self, agent: AgentKey, before: tuple[int, str] | None, most: int) -> Sequence[Session]:
        where = "" if before is None else f"{before[0]:016x}:{before[1]}"
        return _sessions(await self._run(scripts.SESSIONS, *agent, "used", where, most))

    async def idle(self, agent: AgentKey, until_unix_nano: int, most: int) -> Sequence[Session]:
        return _sessions(await self._run(scripts.SESSIONS, *agent, "idle", f"{until_unix_nano:016x}", most))

    async def of_user(self, namespace: str, user_key: str) -> Sequence[Session]:
        found = _sessions(await self._run(scripts.OF_USER, namespace, user_key))
        return sorted(found, key=lambda session: (session.agent, session.session_key))

    async def drop(self, agent: AgentKey) -> None:
        while await self._run(scripts.DROP, *agent, _SESSIONS_A_DROP):
            pass

    async def close(self) -> None:
        await self._client.aclose()

    async def _run(self, script: str, *words: str | bytes | int) -> object:
        async with self._answered():
            return await self._scripts[script](keys=[self._prefix], args=words)

    @asynccontextmanager
    async def _answered(self) -> AsyncGenerator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            # The drivers' messages name the server and not the password; the server's own never repeat it.
            raise Unavailable(f"redis at {self._shown}: {type(error).__name__}: {error}", retry_after=1.0) from None


def _words(change: Change) -> Iterator[str | bytes]:
    about = (change.namespace, change.agent, change.session_key)
    match change:
        case Remembered():
            place, time = _place(change.position, change.event_index), f"{change.time_unix_nano:016x}"
            yield from ("R", *about, change.position.hex(), place, time, change.user_key, change.session_id)
            yield f"{time}{_counted(change.user_key)}{_counted(change.run_id)}".encode() + change.stored
        case Summarised():
            place, time = _place(change.position, change.event_index), f"{change.time_unix_nano:016x}"
            yield from ("S", *about, change.position.hex(), place, time, change.through_run_id, change.text)
        case Forgotten():
            until = "" if change.until_unix_nano < 0 else f"{change.until_unix_nano:016x}"
            yield from ("F", *about, change.position.hex(), until, change.user_key)


def _place(position: bytes, event_index: int) -> str:
    return f"{position.hex()}:{event_index:08x}"


def _counted(text: str) -> str:
    return f"{len(text):02x}{text}"


def _uncounted(value: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + int(value[at : at + 2], 16)
    return value[at + 2 : end].decode(), end


def _turn(place: bytes, value: bytes) -> Turn:
    position, _, index = place.partition(b":")
    user_key, at = _uncounted(value, 16)
    run_id, at = _uncounted(value, at)
    return Turn(run_id, int(value[:16], 16), user_key, value[at:], Place(_unhex(position), int(index, 16)))


def _sessions(reply: object) -> list[Session]:
    rows = cast("list[tuple[bytes, bytes, bytes, int, bytes, bytes]]", reply)
    return [
        Session(key.decode(), agent.decode(), name, turns, int(first, 16), int(last, 16))
        for key, agent, name, turns, first, last in rows
    ]


def _agent(name: bytes) -> AgentKey:
    namespace, _, agent = name.decode().partition("/")
    return AgentKey(namespace, agent)


def _unhex(text: bytes) -> bytes:
    return bytes.fromhex(text.decode())
