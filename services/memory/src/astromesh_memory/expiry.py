"""Forgets sessions that nobody has used for as long as their agents' memory lasts.

The owner of each is asked, who says so in its log, so that a rebuild revives nothing. What is past its time is recalled
no more from that moment on; only its removal takes a while longer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from astromesh.v1.signal_pb2 import ExpireSessionSignal, Signal
from astromesh_core.conversations import AgentKey
from astromesh_core.errors import AstromeshError
from astromesh_core.telemetry.logs import logger
from astromesh_memory.conversations import Conversations

SWEEP_SECONDS: Final = 30.0
"""Between two looks at who has expired; less for memories that last less than ten times as long."""

SWEPT_AT_ONCE: Final = 500
"""Sessions of one agent, at one look."""

ASKED_KEPT: Final = 20_000
"""Sessions whose owner was asked, and is not asked again for the same turns while this process lives."""

_LOOK_SECONDS: Final = 0.5
_READ_SECONDS: Final = 5.0
_NANO: Final = 1_000_000_000
_SKEW: Final = 2 * _NANO
"""Clocks of workers may differ: a turn that is being stored now must not look as old as what expires."""

_log = logger(__name__)


class Signals(Protocol):
    """Sends signals to the owners of sessions."""

    async def send(self, namespace: str, signal: Signal) -> None:
        """Stores the signal."""
        ...


class Expiry:
    """Looks after all agents whose memory has an end."""

    def __init__(self, conversations: Conversations, signals: Signals, clock: Callable[[], int]) -> None:
        """`clock` gives Unix nanoseconds."""
        self._conversations = conversations
        self._signals = signals
        self._clock = clock
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Sweeps until it is cancelled."""
        try:
            rested = 0.0
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                rested += _LOOK_SECONDS
                # Asked each time: an agent's memory may have got an end meanwhile.
                if rested >= self._pause():
                    rested = 0.0
                    await self.sweep()
        finally:
            for task in list(self._asking):
                task.cancel()

    async def sweep(self) -> int:
        """Asks for every session that has expired; answers how many were asked for. What cannot be looked at now is
        looked at next time."""
        asked = 0
        for agent, memory in self._conversations.declared().items():
            if memory.ttl is not None:
                try:
                    asked += await self._sweep(agent, memory.ttl * _NANO)
                except AstromeshError as error:
                    _log.info("expiry is looked at later", agent="/".join(agent), reason=error.message)
        return asked

    async def _sweep(self, agent: AgentKey, ttl: int) -> int:
        until = self._clock() - ttl - _SKEW
        sessions = await self._conversations.idle(agent, until, SWEPT_AT_ONCE, _READ_SECONDS)
        found = [(session.session_key, session.last_unix_nano) for session in sessions]
        fresh = [it for it in found if _name(*it) not in self._asked]
        for key, last in fresh:
            await self._ask(agent, key, last, ttl)
        return len(fresh)

    def left_out(self, agent: AgentKey, session_key: str, last_unix_nano: int, ttl: int) -> None:
        """A run was not told of turns, the last of this time, because of the pause of more than `ttl` seconds after it:
        its session has turns again, so no sweep would find them."""
        if _name(session_key, last_unix_nano) not in self._asked:
            task = asyncio.create_task(self._soon(agent, session_key, last_unix_nano, ttl * _NANO))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _soon(self, agent: AgentKey, session_key: str, last: int, ttl: int) -> None:
        try:
            await self._ask(agent, session_key, last, ttl)
        except AstromeshError as error:
            _log.warning("an expired part of a session is kept until it is used again", reason=error.message)

    async def _ask(self, agent: AgentKey, session_key: str, last: int, ttl: int) -> None:
        # Whatever was made of the last turn before its time was up, such as a summary, goes with it.
        expire = ExpireSessionSignal(agent=agent.agent, until_unix_nano=last + ttl)
        name = _name(session_key, last)
        signal = Signal(id=name, aggregate_id=session_key, expire_session=expire)
        signal.time_unix_nano, signal.principal = self._clock(), "memory"
        await self._signals.send(agent.namespace, signal)
        self._asked[name] = None
        if len(self._asked) > ASKED_KEPT:
            self._asked.popitem(last=False)

    def _pause(self) -> float:
        lasting = [memory.ttl for memory in self._conversations.declared().values() if memory.ttl is not None]
        return min([SWEEP_SECONDS, *(ttl / 10 for ttl in lasting)])


def _name(session_key: str, last_unix_nano: int) -> str:
    """The same for every process that finds the session unused since then: it is heard once."""
    return hashlib.sha256(f"expire {session_key} {last_unix_nano}".encode()).hexdigest()[:32]
