"""A worker: owns partitions, takes in their requests and signals, and checkpoints how far it has come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import structlog

from astromesh.v1.partition_pb2 import OpenRun as CheckpointedRun
from astromesh.v1.partition_pb2 import PartitionCheckpoint
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.intake import Intake, RunRequest, SignalArrived
from astromesh_core.bus.ownership import Acquired, Lost, Ownership
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import Conflict, TemporaryError
from astromesh_runtime.dispatch import Dispatch
from astromesh_runtime.open_runs import OpenRun

CHECKPOINT_SECONDS = 5.0
"""Every changed partition is checkpointed once in this time; a successor re-reads what came after."""

log = structlog.get_logger("astromesh.runtime")


@dataclass(slots=True)
class Partition:
    """How far its owner has come."""

    requested: Position
    signals: Position
    unsettled: OrderedDict[str, Position] = field(default_factory=OrderedDict[str, Position])
    """Signals taken in and not yet events, by id: the checkpoint stays behind the first."""
    dirty: bool = False

    def settled_signals(self) -> Position:
        """Everything up to here has become an event or needs none."""
        first = next(iter(self.unsettled.values()), None)
        return self.signals if first is None else Position(first.sequence - 1)


class Worker:
    """Runs until its scope ends. `dispatch` holds the open runs."""

    def __init__(self, bus: Bus, ownership: Ownership, dispatch: Dispatch) -> None:
        self._bus = bus
        self._ownership = ownership
        self._dispatch = dispatch
        self._partitions: dict[int, Partition] = {}
        self._feeds: dict[frozenset[int], asyncio.Task[None]] = {}
        dispatch.on_signal_settled = self._settled
        dispatch.on_change = self._changed

    async def run(self) -> None:
        """Follows the ownership of partitions; ends when cancelled."""
        checkpoints = asyncio.create_task(self._checkpoint_for_ever())
        try:
            async for change in self._ownership.changes():
                if isinstance(change, Acquired):
                    await self._acquire(change)
                else:
                    self._lose(change)
        finally:
            for task in (checkpoints, *self._feeds.values()):
                task.cancel()
            await asyncio.gather(checkpoints, *self._feeds.values(), return_exceptions=True)

    async def checkpoint_all(self) -> None:
        """Writes every changed checkpoint, so that a successor has nothing to re-read."""
        for partition in [number for number, state in self._partitions.items() if state.dirty]:
            await self._checkpoint(partition)

    async def _acquire(self, acquired: Acquired) -> None:
        end = await self._bus.log.end()
        starts = dict[int, tuple[Position, Position]]()
        for partition in acquired.partitions:
            checkpoint = await self._ownership.load_checkpoint(partition)
            starts[partition] = (Position(checkpoint.requested_sequence), Position(checkpoint.signals_sequence))
            self._partitions[partition] = Partition(*starts[partition])
            for run in sorted(checkpoint.open_runs, key=lambda run: run.requested_sequence):
                aggregate = run_aggregate(run.namespace, run.run_id)
                self._dispatch.add(OpenRun(aggregate, run.session_key, Position(run.requested_sequence)))
        self._dispatch.known_end = max(self._dispatch.known_end, end)
        key = frozenset(acquired.partitions)
        self._feeds[key] = asyncio.create_task(self._feed(starts, end))

    def _lose(self, lost: Lost) -> None:
        for partition in lost.partitions:
            self._partitions.pop(partition, None)
        self._dispatch.drop(lost.partitions)

    async def _feed(self, starts: dict[int, tuple[Position, Position]], end: Position) -> None:
        async for item in Intake(self._bus).items(starts):
            if isinstance(item, RunRequest):
                self._take_request(item, end)
            else:
                self._take_signal(item)

    def _take_request(self, item: RunRequest, end: Position) -> None:
        partition = self._partitions.get(item.aggregate.partition)
        if partition is None:
            return
        partition.requested = item.position
        partition.dirty = True
        # What was requested before we owned the partition may have been worked on: its log is read.
        fresh = item.event if item.position > end else None
        session = item.event.envelope.run.requested.session_key
        self._dispatch.add(OpenRun(item.aggregate, session, item.position, fresh))

    def _take_signal(self, item: SignalArrived) -> None:
        signal = item.signal
        partition = self._partitions.get(item.partition)
        if partition is None:
            return
        partition.signals = item.position
        partition.unsettled[signal.id] = item.position
        partition.dirty = True
        self._dispatch.signal(signal, item.partition)

    def _settled(self, signal: Signal, number: int) -> None:
        partition = self._partitions.get(number)
        if partition is not None:
            partition.unsettled.pop(signal.id, None)
            partition.dirty = True

    def _changed(self, number: int) -> None:
        partition = self._partitions.get(number)
        if partition is not None:
            partition.dirty = True

    async def _checkpoint_for_ever(self) -> None:
        while True:
            dirty = [number for number, state in self._partitions.items() if state.dirty]
            for number in dirty:
                await self._checkpoint(number)
                await asyncio.sleep(CHECKPOINT_SECONDS / len(dirty))
            if not dirty:
                await asyncio.sleep(CHECKPOINT_SECONDS / 10)

    async def _checkpoint(self, number: int) -> None:
        partition = self._partitions.get(number)
        if partition is None or not self._ownership.holds(number):
            return
        partition.dirty = False
        runs = self._dispatch.open_in(number)
        checkpoint = PartitionCheckpoint(
            epoch=self._ownership.epoch(number),
            requested_sequence=partition.requested.sequence,
            signals_sequence=partition.settled_signals().sequence,
            open_runs=[
                CheckpointedRun(
                    namespace=run.aggregate.namespace,
                    run_id=run.aggregate.id,
                    requested_sequence=run.position.sequence,
                    session_key=run.session_key,
                )
                for run in runs
            ],
        )
        await self._save(number, checkpoint)

    async def _save(self, number: int, checkpoint: PartitionCheckpoint) -> None:
        try:
            await self._ownership.save_checkpoint(number, checkpoint)
        except (TemporaryError, Conflict) as error:
            # An older checkpoint only costs a successor some reading. A lost partition is told by `changes`.
            log.info("checkpoint not written", partition=number, reason=error.message)
            self._changed(number)
