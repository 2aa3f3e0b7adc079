"""Has runs forgotten that semantic or episodic memory keeps for longer than its agent says.

The owners of their sessions are asked, who say so in the session's log, so that a rebuild revives nothing. What is past
its time is recalled no more from that moment on; only its removal takes a while longer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from astromesh.v1.signal_pb2 import ExpireSessionSignal, Signal
from astromesh_core.errors import AstromeshError
from astromesh_core.telemetry.logs import logger
from astromesh_memory.keepers import Keepers
from astromesh_memory.runs.changes import KINDS, Kind
from astromesh_memory.runs.ledger import Expired
from astromesh_memory.runs.thread import LedgerThread

SWEEP_SECONDS: Final = 30.0
"""Between two looks; less for memories that last less than ten times as long."""

SWEPT_AT_ONCE: Final = 500
"""Sessions of one agent, at one look."""

_SHORTEST_PAUSE: Final = 0.5
_NANO: Final = 1_000_000_000

_log = logger(__name__)


class Signals(Protocol):
    """Sends signals to the owners of sessions."""

    async def send(self, namespace: str, signal: Signal) -> None:
        """Stores the signal."""
        ...


class Lifetimes:
    """Looks after all agents that give such memory an end."""

    def __init__(self, keepers: Keepers, ledger: LedgerThread, signals: Signals, clock: Callable[[], int]) -> None:
        """`clock` gives Unix nanoseconds."""
        self._keepers = keepers
        self._ledger = ledger
        self._signals = signals
        self._clock = clock

    async def run(self) -> None:
        """Sweeps until it is cancelled."""
        while True:
            lasting = [ttl for _, _, _, ttl in self._lasting()]
            await asyncio.sleep(max(_SHORTEST_PAUSE, min([SWEEP_SECONDS, *(ttl / 10 for ttl in lasting)])))
            await self.sweep()

    async def sweep(self) -> int:
        """Asks for every session with expired runs; answers how many were asked for. Asking again changes nothing."""
        asked = 0
        for namespace, agent, kind, ttl in self._lasting():
            until = self._clock() - ttl * _NANO
            try:
                for session in await self._ledger.expired(namespace, agent, kind, until, SWEPT_AT_ONCE):
                    await self._signals.send(namespace, self._signal(agent, kind, session))
                    asked += 1
            except AstromeshError as error:
                _log.info("expiry is looked at later", agent=f"{namespace}/{agent}", reason=error.message)
        return asked

    def _lasting(self) -> list[tuple[str, str, Kind, int]]:
        return [
            (namespace, agent, kind, ttl)
            for (namespace, agent), declared in self._keepers.agents().items()
            for kind in KINDS
            if (one := declared.of(kind)) is not None and (ttl := one.ttl) is not None
        ]

    def _signal(self, agent: str, kind: Kind, session: Expired) -> Signal:
        """The same from every process that finds the same: it is heard once."""
        name = f"expire {kind} {session.session_key} {session.last_unix_nano}"
        expire = ExpireSessionSignal(agent=agent, until_unix_nano=session.last_unix_nano, kind=kind)
        return Signal(
            id=hashlib.sha256(name.encode()).hexdigest()[:32],
            aggregate_id=session.session_key,
            time_unix_nano=self._clock(),
            principal="memory",
            expire_session=expire,
        )
