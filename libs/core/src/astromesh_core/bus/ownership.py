"""Which partitions this worker owns. Who should own which is decided in `rendezvous`; how long that holds, in `lease`.

Its rules, by which no two workers hold a partition at a time, though machines stall and the server restarts:
1. A worker is alive while its key in KV `workers` stands, by the server's clock. It holds only while its lease runs.
2. A partition changes hands by compare-and-set of its record in KV `partitions`, and its epoch grows.
3. Records are read before the list of who is alive: a worker that came back in between has changed its records.
4. A worker whose lease ran out rewrites its records before it holds again: a take-over under way fails, or it does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from nats.aio.msg import Msg

from astromesh.v1.partition_pb2 import PartitionCheckpoint, PartitionOwner
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.checkpoints import Checkpoints
from astromesh_core.bus.client import Listening
from astromesh_core.bus.connection import Bus, BusHealth
from astromesh_core.bus.lease import Lease, clock
from astromesh_core.bus.rendezvous import FREE, Owned, plan
from astromesh_core.bus.streams import PARTITIONS as PARTITIONS_BUCKET
from astromesh_core.bus.streams import WORKER_TTL_SECONDS, WORKERS
from astromesh_core.errors import AstromeshError, Conflict
from astromesh_core.events.identity import PARTITIONS

BEAT_SECONDS = 1.0
_BEAT_TIMEOUT_SECONDS = 0.8
_REVIEW_SECONDS = 0.5
_ALONE_REVIEW_SECONDS = 5.0
_HANDOVER_SECONDS = 2.0
_LEAVING = b"leaving"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Acquired:
    """These partitions are this worker's now, each at its epoch."""

    partitions: dict[int, int]


@dataclass(frozen=True, slots=True)
class Lost:
    """These partitions are not this worker's any more: stop acting on them.

    What is handed over nobody else takes until the next change is asked for (2 s at most): what is under way can end.
    """

    partitions: frozenset[int]


Change = Acquired | Lost


class Ownership:
    """`async with Ownership(bus, worker)`: takes part in sharing the partitions, until it is left.

    `worker` names this worker among the live ones. `sole` says that the caller made sure that no other process lives
    under the name (the embedded mesh does, by the lock on its data folder): then nothing of an earlier life is awaited.
    """

    def __init__(self, bus: Bus, worker: str, *, sole: bool = False, now: Callable[[], float] = clock) -> None:
        self._nc = bus.nc
        self._worker = worker
        self._sole = sole
        self._now = now
        self._life = secrets.token_hex(8).encode()
        self._workers = Bucket(bus.nc, WORKERS)
        self._bucket = Bucket(bus.nc, PARTITIONS_BUCKET)
        self._checkpoints = Checkpoints(self._bucket)
        self._lease = Lease(WORKER_TTL_SECONDS)
        self._lapses = 0
        self._beat_revision = 0
        self._held: dict[int, int] = {}
        self._giving: dict[int, int] = {}
        self._records: dict[int, Owned] = {}
        self._dirty = True
        self._leaving: set[str] = set()
        self._live: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._changes: asyncio.Queue[tuple[Change, asyncio.Event] | None] = asyncio.Queue()
        self._listening: list[Listening] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble = "not started"

    # -- what the owner asks -------------------------------------------------------------------------------------------

    def holds(self, partition: int) -> bool:
        """True where no other worker can own the partition now. Ask right before acting: it ends by the clock alone."""
        return partition in self._held and self._lease.valid(self._now())

    def assigned(self, partition: int) -> bool:
        """True until the partition is lost or handed over. It may not be acted for while the lease has run out."""
        return partition in self._held

    def epoch(self, partition: int) -> int:
        """The epoch at which this worker holds the partition. Raises Conflict where it does not."""
        if not self.holds(partition):
            raise Conflict(f"partition {partition} is not held by {self._worker}")
        return self._held[partition]

    @property
    def held(self) -> dict[int, int]:
        """Every partition held now, with its epoch."""
        return dict(self._held) if self._lease.valid(self._now()) else {}

    def health(self) -> BusHealth:
        """Red while this worker may not hold anything."""
        reason = self._trouble or ("" if self._lease.valid(self._now()) else "the lease has run out")
        return BusHealth("ownership", not reason, reason)

    async def changes(self) -> AsyncIterator[Change]:
        """What was acquired and lost, in order, until `release`. Asking for the next says the last is dealt with."""
        while (item := await self._changes.get()) is not None:
            change, settled = item
            try:
                yield change
            finally:
                settled.set()

    async def load_checkpoint(self, partition: int) -> PartitionCheckpoint:
        """How far the partition's owners have come. From now on a save by an earlier owner is refused.

        Raises Conflict where the partition is not held.
        """
        return await self._checkpoints.load(partition, self.epoch(partition))

    async def save_checkpoint(self, partition: int, checkpoint: PartitionCheckpoint) -> None:
        """Replaces the checkpoint. Raises Conflict where the partition is not held or is at a newer epoch by now."""
        checkpoint.epoch = self.epoch(partition)
        await self._checkpoints.save(partition, checkpoint)

    async def release(self) -> None:
        """Hands everything over within milliseconds. Call it when nothing acts any more. Idempotent."""
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        held, self._held = self._held | self._giving, {}
        self._trouble = "released"
        if held and self._lease.valid(self._now()):
            self._lease.end()
            with suppress(AstromeshError):
                await self._workers.put(self._worker, _LEAVING, expected=self._beat_revision, ttl=1, seconds=1.0)
                await self._free(held)
        self._changes.put_nowait(None)

    # -- life ----------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._listening = [
            await self._nc.listen(self._bucket.subject("partition.*"), self._on_record),
            await self._nc.listen(self._workers.subject("*"), self._on_heartbeat),
        ]
        if self._sole and (earlier := await self._workers.newest(self._worker)) is not None:
            self._beat_revision = earlier.revision
        self._tasks = [
            asyncio.create_task(self._keep_beating(), name="heartbeat"),
            asyncio.create_task(self._keep_reviewing(), name="partitions"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()
        for listening in self._listening:
            listening.close()

    # -- the heartbeat -------------------------------------------------------------------------------------------------

    async def _keep_beating(self) -> None:
        while True:
            await self._nc.online()
            started = self._now()
            try:
                await self._beat()
            except AstromeshError as error:
                self._trouble = f"no heartbeat: {error}"
                await asyncio.sleep(BEAT_SECONDS / 10)
            else:
                await asyncio.sleep(max(0.0, started + BEAT_SECONDS - self._now()))

    async def _beat(self) -> None:
        sent = self._now()
        try:
            self._beat_revision = await self._workers.put(
                self._worker,
                self._life,
                expected=self._beat_revision,
                ttl=WORKER_TTL_SECONDS,
                seconds=_BEAT_TIMEOUT_SECONDS,
            )
        except Conflict:
            await self._find_own_key()
            raise
        if not self._lease.unbroken(self._now()):
            self._lapses += 1
            await self._confirm()
            self._wake.set()
        self._lease.renew(sent)
        if self._trouble:
            self._trouble = ""
            self._wake.set()

    async def _find_own_key(self) -> None:
        """After a beat was refused: the key expired, a late beat of ours landed, or another lives under our name."""
        newest = await self._workers.newest(self._worker)
        if newest is not None and newest.value not in (self._life, _LEAVING):
            self._lease.end()
            self._forget(self._held, "another process lives under this worker's name")
            raise Conflict(f"another process lives under the name {self._worker}")
        self._beat_revision = newest.revision if newest else 0

    async def _confirm(self) -> None:
        """After the lease ran out: rewrites what is still recorded as ours, and drops the rest (rule 4)."""
        if not self._held:
            return
        await self._read_records()
        lost: set[int] = set()
        for partition, epoch in self._held.items():
            record = self._records.get(partition, FREE)
            same = Owned(self._worker, epoch, record.revision)
            if record != same or not await self._record(partition, same):
                lost.add(partition)
        self._forget(lost, "the lease ran out and another worker took over")

    # -- the partitions ------------------------------------------------------------------------------------------------

    async def _keep_reviewing(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ALONE_REVIEW_SECONDS if self._owns_all_alone() else _REVIEW_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if not self._lease.valid(self._now()):
                continue
            try:
                await self._review()
            except AstromeshError as error:
                _log.warning("partitions were not reviewed", reason=str(error))

    def _owns_all_alone(self) -> bool:
        """Then there is nothing to find: who comes is heard, and only who goes has to be looked for."""
        return self._live == frozenset((self._worker,)) and not self._dirty and len(self._held) == PARTITIONS

    async def _review(self) -> None:
        if self._dirty:
            await self._read_records()
        records = dict(self._records)
        standing = await self._workers.keys()
        self._leaving &= standing
        live = frozenset(standing - self._leaving)
        if live != self._live:
            # A record's write may have been missed; who is alive changes seldom.
            self._live, self._dirty = live, True
        steps = plan(self._worker, self._held, records, live, PARTITIONS)
        self._forget(steps.lost, "another worker's by its record")
        if steps.take:
            await self._take(steps.take, records)
        if steps.give:
            await self._give(steps.give)

    async def _take(self, partitions: Iterable[int], records: Mapping[int, Owned]) -> None:
        acquired: dict[int, int] = {}
        lapses = self._lapses

        async def take(partition: int) -> None:
            record = records.get(partition, FREE)
            taken = Owned(self._worker, record.epoch + 1, record.revision)
            # A lease that ran out while the write was under way was confirmed without this partition: take it anew.
            if self._lease.valid(self._now()) and await self._record(partition, taken) and lapses == self._lapses:
                acquired[partition] = self._held[partition] = taken.epoch

        try:
            await _all(take(partition) for partition in sorted(partitions))
        finally:
            if acquired:
                _log.info("partitions acquired", worker=self._worker, partitions=len(acquired))
                self._tell(Acquired(acquired))

    async def _give(self, partitions: frozenset[int]) -> None:
        given = self._giving = {partition: self._held.pop(partition) for partition in partitions}
        settled = self._tell(Lost(partitions))
        _log.info("partitions handed over", worker=self._worker, partitions=len(given))
        with suppress(TimeoutError):
            async with asyncio.timeout(_HANDOVER_SECONDS):
                await settled.wait()
        await self._free(given)
        self._giving = {}

    async def _free(self, epochs: dict[int, int]) -> None:
        async def free(partition: int, epoch: int) -> None:
            record = self._records.get(partition, FREE)
            if record.worker == self._worker and record.epoch == epoch:
                await self._record(partition, Owned("", epoch, record.revision))

        await _all(free(partition, epoch) for partition, epoch in epochs.items())

    async def _record(self, partition: int, owned: Owned) -> bool:
        """Writes the partition's record over the revision named; False where another write came first."""
        value = PartitionOwner(worker=owned.worker, epoch=owned.epoch).SerializeToString()
        try:
            revision = await self._bucket.put(f"partition.{partition}", value, expected=owned.revision)
        except Conflict:
            self._dirty = True
            return False
        self._records[partition] = owned._replace(revision=revision)
        return True

    async def _read_records(self) -> None:
        self._dirty = False
        try:
            entries = await self._bucket.entries("partition.*")
        except BaseException:
            self._dirty = True
            raise
        for entry in entries:
            owner = PartitionOwner.FromString(entry.value)
            self._records[int(entry.key.rpartition(".")[2])] = Owned(owner.worker, owner.epoch, entry.revision)

    def _forget(self, partitions: Iterable[int], reason: str) -> None:
        lost = frozenset(partitions)
        if lost:
            for partition in lost:
                del self._held[partition]
            _log.warning("partitions lost", worker=self._worker, partitions=len(lost), reason=reason)
            self._tell(Lost(lost))

    def _tell(self, change: Change) -> asyncio.Event:
        settled = asyncio.Event()
        self._changes.put_nowait((change, settled))
        return settled

    # -- what is heard -------------------------------------------------------------------------------------------------

    def _on_record(self, message: Msg) -> None:
        owner = PartitionOwner.FromString(message.data)
        if owner.worker != self._worker:
            self._dirty = True
            self._wake.set()

    def _on_heartbeat(self, message: Msg) -> None:
        worker = self._workers.key(message.subject)
        if message.data == _LEAVING:
            self._leaving.add(worker)
            self._wake.set()
        else:
            self._leaving.discard(worker)
            if worker not in self._live and worker != self._worker:
                self._wake.set()


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    """Takes every step, though one fail; raises the first failure."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for failure in results:
        if failure is not None:
            raise failure
