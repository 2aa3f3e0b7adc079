"""One backend, kept in step with the log for the agents that declare it: what is new goes to those who are up to date.

An agent who is not, because it came from another backend, or because this one lost something, is `behind`: `joining`
reads the log again for it until it has caught up. A backend that is away holds up its own agents and nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, TypeVar

from astromesh_core.bus.positions import Position
from astromesh_core.conversations import Advance, AgentKey, Change, ConversationStore
from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.telemetry.logs import logger
from astromesh_memory.changes import Commit, changes_of

Value = TypeVar("Value")

SAVE_EVERY: Final = 1_000
"""Commits without a change after which positions are saved all the same: that many are read again at most."""

SAVE_SECONDS: Final = 3.0
"""For the positions at the end: without them, the log is read again from a while before."""

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Between attempts at a backend that is away."""

_log = logger(__name__)


class Lane:
    """An opened backend and the agents that it follows. One batch at a time: the feed waits for `handle`."""

    def __init__(self, name: str, store: ConversationStore, position: bytes) -> None:
        """`position`: from where on `handle` is given the log."""
        self.name = name
        self.store = store
        self.position = position
        """Up to where the changes of everyone who is up to date are applied."""
        self.taken = position
        """Up to where they are applied, or being applied."""
        self.trouble = ""
        """Why the backend takes nothing at present."""
        self.behind = set[AgentKey]()
        """Who is to be followed here, and is not up to date."""
        self.lagging = asyncio.Event()
        """Set while somebody is behind."""
        self._saved: dict[AgentKey, bytes] = {}
        self._unsaved = 0
        self._waiting: dict[asyncio.Future[None], tuple[AgentKey, bytes]] = {}

    # -- who is followed -----------------------------------------------------------------------------------------------

    @property
    def agents(self) -> Collection[AgentKey]:
        """Who is up to date."""
        return self._saved.keys()

    def want(self, agent: AgentKey) -> None:
        """Follows the agent from now on; it is behind until it has joined."""
        if agent not in self._saved:
            self.behind.add(agent)
            self.lagging.set()

    def join(self, agent: AgentKey, position: bytes) -> bool:
        """Takes in an agent whose changes are applied up to the position. False where that is not far enough yet."""
        if agent not in self.behind or position < self.taken:
            return False
        self.behind.discard(agent)
        self._saved[agent] = position
        if not self.behind:
            self.lagging.clear()
        self._wake()
        return True

    def leave(self, agent: AgentKey) -> None:
        """Follows the agent no more."""
        self._saved.pop(agent, None)
        self.behind.discard(agent)
        if not self.behind:
            self.lagging.clear()

    def lost(self, agents: Iterable[AgentKey]) -> None:
        """The backend lacks something of these agents: they are behind."""
        for agent in agents:
            if self._saved.pop(agent, None) is not None:
                _log.warning("conversations are built again", backend=self.name, agent="/".join(agent))
                self.want(agent)

    # -- applying ------------------------------------------------------------------------------------------------------

    async def handle(self, commits: Sequence[Commit]) -> None:
        """Applies a batch; returns when it is stored, with the positions in the same transaction."""
        if commits:
            await self.take(changes_of(commits), commits[-1].position, len(commits))

    async def take(self, changes: Iterable[Change], position: Position, commits: int) -> None:
        """As `handle`, for changes that are known already."""
        upto = position.encode()
        if upto <= self.position:
            return
        self.taken = upto
        mine = [change for change in changes if (change.namespace, change.agent) in self._saved]
        self._unsaved += commits
        if mine or self._unsaved >= SAVE_EVERY:
            everyone = self._unsaved >= SAVE_EVERY
            await self._apply(mine, None if everyone else {AgentKey(it.namespace, it.agent) for it in mine}, upto)
            self._unsaved = 0 if everyone else self._unsaved
        self.position = upto
        self._wake()

    async def save(self) -> None:
        """Stores how far everyone is, which `handle` puts off while nothing changes. Gives up where that fails."""
        try:
            async with asyncio.timeout(SAVE_SECONDS):
                await self.store.apply((), self._advances(self._saved, self.position))
        except (AstromeshError, TimeoutError) as error:
            _log.warning("positions are not saved", backend=self.name, reason=str(error))

    async def patiently(self, call: Callable[[], Awaitable[Value]]) -> Value:
        """Tries until the backend answers. What is wrong meanwhile stands in `trouble`."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                value = await call()
            except AstromeshError as error:
                self.fails(error)
            else:
                self.answers()
                return value
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def fails(self, error: AstromeshError) -> None:
        """The backend did not answer."""
        if not self.trouble:
            _log.warning("conversations cannot be reached", backend=self.name, reason=error.message)
        self.trouble = error.message
        self._wake()

    def answers(self) -> None:
        """The backend answered."""
        if self.trouble:
            _log.info("conversations can be reached again", backend=self.name)
        self.trouble = ""

    async def _apply(self, changes: Sequence[Change], agents: Collection[AgentKey] | None, upto: bytes) -> None:
        def applied() -> Awaitable[Collection[AgentKey]]:
            # Who left meanwhile, or joined, does or does not move on: asked anew at each attempt.
            return self.store.apply(changes, self._advances(self._saved if agents is None else agents, upto))

        lacking = await self.patiently(applied)
        for agent in self._saved if agents is None else agents:
            if agent in self._saved and agent not in lacking:
                self._saved[agent] = max(self._saved[agent], upto)
        self.lost(lacking)

    def _advances(self, agents: Iterable[AgentKey], upto: bytes) -> list[Advance]:
        saved = self._saved
        return [Advance(agent, saved[agent], upto) for agent in agents if saved.get(agent, upto) < upto]

    # -- waiting -------------------------------------------------------------------------------------------------------

    def saved(self, agent: AgentKey) -> bytes | None:
        """What the backend must hold of the agent at least; None where it is behind."""
        return self._saved.get(agent)

    async def reached(self, agent: AgentKey, position: bytes, seconds: float) -> None:
        """Returns once the agent's changes are applied up to `position`.

        Raises Unavailable where that takes longer, and at once where the backend is away.
        """
        if self._has(agent, position):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = (agent, position)
        try:
            async with asyncio.timeout(seconds):
                if not self.trouble:
                    await waiter
        except TimeoutError:
            raise Unavailable(self._why(agent), retry_after=1.0) from None
        finally:
            del self._waiting[waiter]
        if not self._has(agent, position):
            raise Unavailable(self.trouble or self._why(agent), retry_after=1.0)

    def _has(self, agent: AgentKey, position: bytes) -> bool:
        saved = self._saved.get(agent)
        return saved is not None and (self.position >= position or saved >= position)

    def _why(self, agent: AgentKey) -> str:
        if agent in self.behind:
            return f"the conversations of agent {agent.agent} are being built in {self.name} from the log"
        return "memory has not caught up with the session's last run yet"

    def _wake(self) -> None:
        for waiter, (agent, position) in self._waiting.items():
            if (self.trouble or self._has(agent, position)) and not waiter.done():
                waiter.set_result(None)
