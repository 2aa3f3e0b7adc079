"""A worker: owns partitions, takes in their requests and signals, and checkpoints how far it has come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from astromesh.v1.partition_pb2 import OpenRun as CheckpointedRun
from astromesh.v1.partition_pb2 import PartitionCheckpoint
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.intake import Intake, Reached, RunRequest, SignalArrived
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.ownership import Acquired, Ownership
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import AstromeshError, Conflict, TemporaryError
from astromesh_runtime.child_runs import Parent
from astromesh_runtime.dispatch import Dispatch
from astromesh_runtime.open_runs import OpenRun

CHECKPOINT_SECONDS = 5.0
"""Every changed partition is checkpointed once in this time; a successor re-reads what came after."""

RETRY_SECONDS = 0.2

log = structlog.get_logger("astromesh.runtime")


@dataclass(slots=True)
class Partition:
    """What its owner knows of a partition."""

    end: Position
    """The log's end when the partition was acquired: a run requested before may have been worked on."""
    unsettled: OrderedDict[str, Position] = field(default_factory=OrderedDict[str, Position])
    """Signals taken in and not yet events, by id: the checkpoint stays behind the first."""
    dirty: bool = False

    def settled_signals(self, reached: Position) -> Position:
        """Everything up to here has become an event or needs none."""
        first = next(iter(self.unsettled.values()), None)
        return reached if first is None else min(reached, Position(first.sequence - 1))


class Worker:
    """Runs until cancelled. `dispatch` holds the open runs."""

    def __init__(self, log: EventLog, ownership: Ownership, intake: Intake, dispatch: Dispatch) -> None:
        self._log = log
        self._ownership = ownership
        self._intake = intake
        self._dispatch = dispatch
        self._partitions: dict[int, Partition] = {}
        dispatch.on_signal_settled = self._settled
        dispatch.on_change = self._changed

    async def run(self) -> None:
        """Follows the ownership of partitions and what arrives for them; ends when cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_ownership())
            group.create_task(self._take_in())
            group.create_task(self._checkpoint_for_ever())

    async def checkpoint_all(self) -> None:
        """Writes every changed checkpoint, so that a successor has nothing to re-read."""
        dirty = [number for number, state in self._partitions.items() if state.dirty]
        await asyncio.gather(*(self._checkpoint(number) for number in dirty))

    async def _follow_ownership(self) -> None:
        async for change in self._ownership.changes():
            if isinstance(change, Acquired):
                await self._acquire(change.partitions)
            else:
                await self._lose(change.partitions)

    async def _acquire(self, partitions: Collection[int]) -> None:
        left = set(partitions)
        # While they are assigned, though the lease may run out for a moment: nobody would begin them again.
        while left := {number for number in left if self._ownership.assigned(number)}:
            try:
                await self._begin(left)
                return
            except (Conflict, TemporaryError) as error:
                log.info("partitions not taken in yet", reason=error.message)
            await asyncio.sleep(RETRY_SECONDS)

    async def _begin(self, partitions: Collection[int]) -> None:
        """Puts the runs that were left open into their queues, then takes in what came after the checkpoint."""
        numbers = sorted(partitions)
        end = await self._log.end()
        checkpoints = await asyncio.gather(*map(self._ownership.load_checkpoint, numbers))
        self._dispatch.known_end = max(self._dispatch.known_end, end)
        for number, checkpoint in zip(numbers, checkpoints, strict=True):
            self._partitions[number] = Partition(end)
            for run in sorted(checkpoint.open_runs, key=lambda run: run.requested_sequence):
                aggregate = run_aggregate(run.namespace, run.run_id)
                parent = Parent(run.parent_run_id, run.parent_path) if run.parent_run_id else None
                self._dispatch.add(OpenRun(aggregate, run.session_key, Position(run.requested_sequence), parent))
        starts = zip(numbers, map(Reached.by, checkpoints), strict=True)
        await self._intake.follow(dict(starts))

    async def _lose(self, partitions: Collection[int]) -> None:
        for number in partitions:
            self._partitions.pop(number, None)
        self._dispatch.drop(partitions)
        with suppress(TemporaryError):
            await self._intake.drop(partitions)

    async def _take_in(self) -> None:
        async for arrival in self._intake:
            partition = self._partitions.get(arrival.aggregate.partition)
            if partition is None:
                continue
            partition.dirty = True
            if isinstance(arrival, RunRequest):
                self._take_request(arrival, partition)
            else:
                self._take_signal(arrival, partition)

    def _take_request(self, arrival: RunRequest, partition: Partition) -> None:
        fresh = arrival.event if arrival.position > partition.end else None
        requested = arrival.event.envelope.run.requested
        parent = Parent.of(requested)
        self._dispatch.add(OpenRun(arrival.aggregate, requested.session_key, arrival.position, parent, fresh))

    def _take_signal(self, arrival: SignalArrived, partition: Partition) -> None:
        partition.unsettled[arrival.signal.id] = arrival.position
        self._dispatch.signal(arrival.signal, arrival.aggregate)

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
            # Spread over the interval: a checkpoint is a stored message and shares the disk with the runs.
            pause = CHECKPOINT_SECONDS / (len(dirty) + 1)
            for number in dirty:
                await asyncio.sleep(pause)
                await self._checkpoint(number)
            await asyncio.sleep(pause)

    async def _checkpoint(self, number: int) -> None:
        partition = self._partitions.get(number)
        if partition is None or not self._ownership.holds(number):
            return
        partition.dirty = False
        reached = self._intake.reached(number)
        checkpoint = PartitionCheckpoint(
            requested_sequence=reached.requested.sequence,
            signals_sequence=partition.settled_signals(reached.signals).sequence,
            open_runs=[_checkpointed(run) for run in self._dispatch.open_in(number)],
        )
        try:
            await self._ownership.save_checkpoint(number, checkpoint)
        except AstromeshError as error:
            # An older checkpoint only costs a successor some reading. A lost partition is told by `changes`.
            log.info("checkpoint not written", partition=number, reason=error.message)
            self._changed(number)


def _checkpointed(run: OpenRun) -> CheckpointedRun:
    return CheckpointedRun(
        namespace=run.aggregate.namespace,
        run_id=run.aggregate.id,
        requested_sequence=run.position.sequence,
        session_key=run.session_key,
        parent_run_id=run.parent.run_id if run.parent is not None else "",
        parent_path=run.parent.path if run.parent is not None else "",
    )
