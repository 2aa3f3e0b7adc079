"""The conversations of all agents, each in the backend that it declares, brought there from the log by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from astromesh_core.bus.positions import Position
from astromesh_core.conversations import START, AgentKey, ConversationStore, Place, Recalled, Session, Turn
from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.resources.agent_memory import ConversationalMemory
from astromesh_core.telemetry.logs import logger
from astromesh_memory.changes import Commit, changes_of
from astromesh_memory.joining import Joining, Log
from astromesh_memory.lane import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, SAVE_EVERY, Lane
from astromesh_memory.opening import Opener
from astromesh_memory.placing import SQLITE, Target, target_of
from astromesh_memory.seen import SeenAgents

_log = logger(__name__)


class Declarations(Protocol):
    """What agents declare now."""

    async def of(self, agent: AgentKey) -> ConversationalMemory | None:
        """Its conversational memory; None where it declares none, or there is no such agent."""
        ...


@dataclass(slots=True, eq=False)
class _Backend:
    """One target, from the first agent that names it on."""

    target: Target
    lane: Lane | None = None
    trouble: str = "it is being opened"
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is opened or cannot be."""
    holds: set[AgentKey] = field(default_factory=set[AgentKey])
    """Whose conversations lie in it, wanted there or not."""
    task: asyncio.Task[None] | None = None


class Conversations:
    """`async with`: opens SQLite, follows the log, and opens other backends as agents name them."""

    def __init__(self, log: Log, seen: SeenAgents, opener: Opener, declarations: Declarations) -> None:
        self._log = log
        self._seen = seen
        self._seen_more = asyncio.Condition()
        self._unsaved = 0
        self._opener = opener
        self._declarations = declarations
        self._backends: dict[Target, _Backend] = {}
        self._placed: dict[AgentKey, Target] = {}
        self._declared: dict[AgentKey, ConversationalMemory] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def check_log(self) -> None:
        """Forgets what is known of another log. To be called before anything else."""
        if self._seen.position > (await self._log.end()).encode():
            _log.warning("memory belongs to another log and is built again")
            self._seen.reset()

    async def start(self) -> None:
        """Opens SQLite's file, once it is known what agents declare."""
        for agent in self._seen.agents:
            if agent not in self._placed:
                # It is declared no more, or was removed.
                self._place(agent, SQLITE)
        backend = self._backend(SQLITE)
        await backend.opened.wait()
        if backend.lane is None:
            raise Unavailable(backend.trouble)

    @property
    def position(self) -> bytes:
        """Up to where the feed of `handle` may begin."""
        lane = self._sqlite()
        return min(self._seen.position, lane.position)

    async def handle(self, commits: Sequence[Commit]) -> None:
        """Takes the log's next part: for SQLite, and to know who is new. Other backends have feeds of their own."""
        if not commits:
            return
        changes, position = list(changes_of(commits)), commits[-1].position
        new = self._seen.see(changes, position.encode())
        for agent in new:
            if agent not in self._placed:
                self._place(agent, SQLITE)
        self._unsaved += len(commits)
        await self._sqlite().take(changes, position, len(commits))
        async with self._seen_more:
            self._seen_more.notify_all()
        if new or self._unsaved >= SAVE_EVERY:
            self._unsaved = 0
            await self._seen.save()

    async def close(self) -> None:
        """Stores how far everything is, and closes all backends."""
        for task in [*self._tasks, *(backend.task for backend in self._backends.values() if backend.task)]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._seen.save()

    # -- where agents lie ----------------------------------------------------------------------------------------------

    def place(self, agent: AgentKey, memory: ConversationalMemory | None) -> None:
        """The agent declares this memory from now on; None: none. Its history follows it to another backend."""
        if memory is not None:
            self._declared[agent] = memory
            self._place(agent, target_of(memory))
            return
        self._declared.pop(agent, None)
        if agent in self._placed:
            # What it left stays somewhere, so that a person can be forgotten in it.
            self._place(agent, SQLITE)

    def _place(self, agent: AgentKey, target: Target) -> None:
        if self._placed.get(agent) == target:
            return
        self._placed[agent] = target
        backend = self._backend(target)
        if backend.lane is not None:
            backend.lane.want(agent)

    def declared(self) -> dict[AgentKey, ConversationalMemory]:
        """What every agent declares that has conversations."""
        return dict(self._declared)

    async def lane_of(self, agent: AgentKey, seconds: float, memory: ConversationalMemory | None = None) -> Lane | None:
        """The lane of the agent's backend once it is open; None where the agent keeps no conversations. `memory` is
        what an earlier version of it declares, for where it declares none any more.

        Raises Unavailable where it is not open in time, and at once where it cannot be opened at present.
        """
        if agent not in self._placed:
            # It may be younger than what the watch has told.
            self.place(agent, await self._declarations.of(agent) or memory)
        target = self._placed.get(agent)
        if target is None:
            return None
        backend = self._backends[target]
        if backend.lane is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await backend.changed.wait()
        if backend.lane is None:
            raise Unavailable(backend.trouble, retry_after=1.0)
        return backend.lane

    async def rebuild(self, agent: AgentKey, seconds: float) -> None:
        """Builds the agent's conversations again from the log; returns when they are as they were.

        Raises Unavailable where that takes longer: it goes on all the same.
        """
        lane = await self.lane_of(agent, seconds)
        if lane is not None:
            position = lane.position
            await lane.store.drop(agent)
            lane.lost([agent])
            lane.want(agent)
            await lane.reached(agent, position, seconds)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def last(
        self,
        agent: AgentKey,
        session_key: str,
        most: int,
        *,
        after: bytes = START,
        memory: ConversationalMemory | None = None,
        seconds: float,
    ) -> Recalled | None:
        """The session's last turns, once the log is applied up to `after`; None where the agent keeps none.

        Raises Unavailable where the backend is away, or does not have everything yet: never less than there was.
        """
        lane = await self.lane_of(agent, seconds, memory)
        if lane is None:
            return None
        await lane.reached(agent, after, seconds)
        least = lane.saved(agent)
        recalled = await lane.store.last(agent, session_key, most)
        if least is not None and (recalled.position is None or recalled.position < least):
            lane.lost([agent])
            raise Unavailable(f"{lane.name} has lost conversations; they are built again from the log", retry_after=1.0)
        return recalled

    async def page(self, agent: AgentKey, session_key: str, after: Place, most: int, seconds: float) -> Sequence[Turn]:
        """Turns that follow a place. Raises as `last`."""
        lane = await self._ready(agent, seconds)
        return () if lane is None else await lane.store.page(agent.namespace, session_key, after, most)

    async def sessions(
        self, agent: AgentKey, before: tuple[int, str] | None, most: int, seconds: float
    ) -> Sequence[Session]:
        """The agent's sessions, the last used first. Raises as `last`."""
        lane = await self._ready(agent, seconds)
        return () if lane is None else await lane.store.sessions(agent, before, most)

    async def idle(self, agent: AgentKey, until_unix_nano: int, most: int, seconds: float) -> Sequence[Session]:
        """Sessions unused since a time, by all that the log holds now. Raises as `last`."""
        # A turn that is not applied yet may be younger than the last one that is.
        lane = await self._ready(agent, seconds, await self._end())
        return () if lane is None else await lane.store.idle(agent, until_unix_nano, most)

    async def of_user(self, namespace: str, user_key: str, seconds: float) -> list[Session]:
        """Every session of a person, of all agents, by all that the log holds now: whoever asks may mean to forget it.

        Raises Unavailable where one of their backends is away.
        """
        end = await self._end()
        agents = [agent for agent in self._placed if agent.namespace == namespace]
        lanes = {agent.agent: await self._ready(agent, seconds, end) for agent in agents}
        found = list[Session]()
        for lane in {id(lane): lane for lane in lanes.values() if lane is not None}.values():
            sessions = await lane.store.of_user(namespace, user_key)
            found += [session for session in sessions if lanes.get(session.agent) is lane]
        return sorted(found, key=lambda session: (session.agent, session.session_key))

    async def _ready(self, agent: AgentKey, seconds: float, after: bytes = START) -> Lane | None:
        lane = await self.lane_of(agent, seconds)
        if lane is not None:
            await lane.reached(agent, after, seconds)
        return lane

    async def _end(self) -> bytes:
        end = await self._log.end()
        return end.encode() if end > Position.START else START

    # -- backends ------------------------------------------------------------------------------------------------------

    def _sqlite(self) -> Lane:
        lane = self._backends[SQLITE].lane
        assert lane is not None
        return lane

    def _backend(self, target: Target) -> _Backend:
        backend = self._backends.get(target)
        if backend is None:
            backend = self._backends[target] = _Backend(target)
            backend.task = asyncio.create_task(self._run(backend), name=f"conversations in {target.shown}")
            backend.task.add_done_callback(lambda task: self._ended(backend, task))
        return backend

    async def _run(self, backend: _Backend) -> None:
        store = await self._opened(backend)
        try:
            lane = await self._lane(backend, store)
            joining = Joining(lane, self._log, self._seen, self._seen_upto, lambda agent: self._joined(backend, agent))
            try:
                if backend.target == SQLITE:
                    await joining.run()
                else:
                    async with self._log.feed(f"memory in {lane.name}", lane.handle, lane.position):
                        await joining.run()
            finally:
                await lane.save()
        finally:
            await store.close()

    def _ended(self, backend: _Backend, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("a backend has a bug", backend=backend.target.shown, exc_info=error)
        backend.trouble = f"{backend.target.shown} met a bug: {type(error).__name__}; the log of memory has the details"
        backend.lane = None
        backend.opened.set()
        backend.changed.set()

    async def _opened(self, backend: _Backend) -> ConversationStore:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._opener(backend.target)
            except AstromeshError as error:
                if backend.trouble != error.message:
                    _log.warning("a backend cannot be opened", backend=backend.target.shown, reason=error.message)
                backend.trouble = error.message
                backend.changed.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _lane(self, backend: _Backend, store: ConversationStore) -> Lane:
        """The lane from where the first of its agents stands: of the others nothing is missing after that."""
        lane = Lane(backend.target.shown, store, self._seen.position)
        backend.lane = lane
        backend.changed.set()
        followed = await lane.patiently(store.followed)
        end = (await self._log.end()).encode()
        wanted = [agent for agent, target in self._placed.items() if target == backend.target]
        standing = [followed[agent] for agent in wanted if START < followed.get(agent, START) <= end]
        lane.position = lane.taken = min([*standing, self._seen.position])
        backend.holds.update(followed)
        for agent in wanted:
            lane.want(agent)
        backend.opened.set()
        for agent in followed:
            self._drop_elsewhere(agent)
        return lane

    async def _seen_upto(self, position: bytes) -> None:
        async with self._seen_more:
            await self._seen_more.wait_for(lambda: self._seen.position >= position)

    # -- moving --------------------------------------------------------------------------------------------------------

    def _joined(self, backend: _Backend, agent: AgentKey) -> None:
        backend.holds.add(agent)
        self._drop_elsewhere(agent)

    def _drop_elsewhere(self, agent: AgentKey) -> None:
        """Removes the agent's conversations from where they lay before, now that they are where they belong."""
        target = self._placed.get(agent)
        home = None if target is None else self._backends[target].lane
        if home is None or agent not in home.agents:
            return
        for backend in self._backends.values():
            if backend.target != target and backend.lane is not None and agent in backend.holds:
                backend.lane.leave(agent)
                backend.holds.discard(agent)
                self._spawn(self._drop(backend, backend.lane, agent))

    async def _drop(self, backend: _Backend, lane: Lane, agent: AgentKey) -> None:
        async def dropped() -> None:
            if self._placed.get(agent) != backend.target:
                await lane.store.drop(agent)

        await lane.patiently(dropped)
        _log.info("conversations moved", agent="/".join(agent), away_from=lane.name)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
