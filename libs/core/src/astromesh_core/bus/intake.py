"""What a partition's owner has to handle: requested runs and signals, each partition's in the order of storing, from a
checkpoint on. What is done about them, and when a checkpoint may be saved, is the owner's.

A partition is first read up to the streams' ends, then followed by the one ordered feed that all partitions share.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from google.protobuf.message import DecodeError

from astromesh.v1.partition_pb2 import PartitionCheckpoint
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus, BusHealth
from astromesh_core.bus.feed import Delivered
from astromesh_core.bus.lanes import Lane, Track
from astromesh_core.bus.positions import Position
from astromesh_core.bus.streams import RUNS, SIGNALS
from astromesh_core.bus.subjects import Aggregate, aggregate_of_subject, requested_filter, signal_filter
from astromesh_core.errors import AstromeshError, InvalidInput, TemporaryError
from astromesh_core.events.chain import StoredEvent, open_commit

_FULL = 1000
_REMEMBERED_SIGNALS = 4_000
"""A repeated signal that came longer ago is found by the run or session that it is for, whose log holds it."""
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run was admitted: its event at index 0."""

    aggregate: Aggregate
    event: StoredEvent
    position: Position


@dataclass(frozen=True, slots=True)
class SignalArrived:
    """A signal to a run or a session. One whose id came before, at another position, is not passed on."""

    aggregate: Aggregate
    signal: Signal
    position: Position


Arrival = RunRequest | SignalArrived


class Reached(NamedTuple):
    """How far a partition has been read in each stream."""

    requested: Position = Position.START
    signals: Position = Position.START

    @classmethod
    def by(cls, checkpoint: PartitionCheckpoint) -> Reached:
        """Where the checkpoint says that everything was handled."""
        return cls(Position(checkpoint.requested_sequence), Position(checkpoint.signals_sequence))


class Intake:
    """`async with Intake(bus) as intake`: `follow` partitions, then iterate over what arrives for them."""

    def __init__(self, bus: Bus) -> None:
        self._dead_letters = bus.dead_letters
        # Without an arrival: a message of which nothing is passed on. It waits its turn, so that what is reached is all
        # dealt with up to there.
        self._arrivals: asyncio.Queue[tuple[Track, Position, Arrival | None]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._changing = asyncio.Lock()
        self._requested = Lane(bus.nc, RUNS, requested_filter, self._on_request, self._no_room)
        self._signals = Lane(bus.nc, SIGNALS, signal_filter, self._on_signal, self._no_room)
        self._ids: OrderedDict[str, int] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._requested.close()
        await self._signals.close()

    async def follow(self, partitions: Mapping[int, Reached]) -> None:
        """Adds partitions, each from where it was read to. Returns when what stands in the streams is on its way.

        Raises Unavailable or TimedOut; calling it again starts over with these partitions.
        """
        async with self._changing:
            await self._requested.follow({partition: start.requested for partition, start in partitions.items()})
            await self._signals.follow({partition: start.signals for partition, start in partitions.items()})

    async def drop(self, partitions: Collection[int]) -> None:
        """Follows these no more: from this call on, nothing of them is passed on."""
        self._requested.forget(partitions)
        self._signals.forget(partitions)
        async with self._changing:
            await self._requested.narrow()
            await self._signals.narrow()

    def reached(self, partition: int) -> Reached:
        """Up to where everything of a followed partition has been passed on: an idle partition moves on too."""
        return Reached(self._requested.reached(partition), self._signals.reached(partition))

    def health(self) -> BusHealth:
        """Red while arrivals are not delivered."""
        reason = self._requested.trouble or self._signals.trouble
        return BusHealth("intake", not reason, reason)

    async def __aiter__(self) -> AsyncIterator[Arrival]:
        while True:
            track, position, arrival = await self._arrivals.get()
            if self._arrivals.qsize() < _FULL:
                self._room.set()
            if track.pass_on(position) and arrival is not None:
                yield arrival

    def _on_request(self, track: Track, message: Delivered) -> Awaitable[None] | None:
        try:
            events = open_commit(message.data)
            if not events or events[0].index != 0:
                raise InvalidInput("a request without the event at index 0")
            aggregate = aggregate_of_subject(message.subject)
        except AstromeshError as error:
            return self._bury(track, message, error)
        position = Position(message.sequence)
        self._arrivals.put_nowait((track, position, RunRequest(aggregate, events[0], position)))
        return None

    def _on_signal(self, track: Track, message: Delivered) -> Awaitable[None] | None:
        try:
            signal = Signal.FromString(message.data)
            aggregate = aggregate_of_subject(message.subject)
        except (DecodeError, InvalidInput) as error:
            return self._bury(track, message, error)
        position = Position(message.sequence)
        repeated = self._repeated(signal.id, message.sequence)
        self._arrivals.put_nowait((track, position, None if repeated else SignalArrived(aggregate, signal, position)))
        return None

    async def _bury(self, track: Track, message: Delivered, error: Exception) -> None:
        while True:
            try:
                await self._dead_letters.put("intake", message.subject, message.data, error)
            except TemporaryError:
                # The queue waits rather than lose it.
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                break
        self._arrivals.put_nowait((track, Position(message.sequence), None))

    def _repeated(self, signal_id: str, sequence: int) -> bool:
        first = self._ids.setdefault(signal_id, sequence)
        if len(self._ids) > _REMEMBERED_SIGNALS:
            self._ids.popitem(last=False)
        return first < sequence

    def _no_room(self) -> Awaitable[None] | None:
        return self._until_room() if self._arrivals.qsize() >= _FULL else None

    async def _until_room(self) -> None:
        while self._arrivals.qsize() >= _FULL:
            self._room.clear()
            await self._room.wait()
