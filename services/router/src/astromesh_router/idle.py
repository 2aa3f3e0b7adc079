"""Connections that wait to be used again: how many to one place, and for how long. What they carry: `direct`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, Protocol, TypeVar

KEEP_ALIVE_SECONDS = 30.0
MOST_IDLE = 256
"""To one place. What a burst of calls opened beyond it is closed when the burst is over."""


class Reusable(Protocol):
    """A connection that nobody uses."""

    @property
    def usable(self) -> bool:
        """Whether it stands, and nothing came on it that nobody asked for."""
        ...

    def cut(self) -> None:
        """Closes it at once."""
        ...


Place = TypeVar("Place", bound=Hashable)
Connection = TypeVar("Connection", bound=Reusable)


class _Idle(NamedTuple, Generic[Connection]):
    connection: Connection
    since: float


class IdleConnections(Generic[Place, Connection]):
    """Keeps connections by the place that they lead to, and closes those that nobody takes in time."""

    def __init__(
        self,
        most: int = MOST_IDLE,
        seconds: float = KEEP_ALIVE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most` to one place, each for so many seconds. `clock` counts seconds."""
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[Place, deque[_Idle[Connection]]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def put(self, place: Place, connection: Connection) -> None:
        """Keeps a connection. Where there are too many, the one that has waited longest goes."""
        kept = self._kept.setdefault(place, deque())
        kept.append(_Idle(connection, self._clock()))
        if len(kept) > self._most:
            kept.popleft().connection.cut()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._seconds, self._close_stale)

    def take(self, place: Place) -> Connection | None:
        """The one used last: it is the least likely to be closed by the server meanwhile. None where there is none."""
        kept = self._kept.get(place)
        while kept:
            connection, since = kept.pop()
            if connection.usable and self._clock() - since < self._seconds:
                return connection
            connection.cut()
        return None

    def clear(self) -> None:
        """Forgets them all; whoever opened them closes them."""
        self._kept.clear()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _close_stale(self) -> None:
        until = self._clock() - self._seconds
        for place, kept in list(self._kept.items()):
            while kept and (kept[0].since <= until or not kept[0].connection.usable):
                kept.popleft().connection.cut()
            if not kept:
                del self._kept[place]
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._seconds, self._close_stale) if self._kept else None
