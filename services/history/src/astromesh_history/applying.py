"""What a number of commits come to: each event verified against its chain, folded into its run, and copied. Makes the
rows of one transaction; writing them, and when, is the projector's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from astromesh.v1.values_pb2 import Content, StoredValue
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import ProjectedCommit
from astromesh_core.errors import NotFound
from astromesh_core.events.chain import StoredEvent, build_commit
from astromesh_history.alarms import Alarms
from astromesh_history.chains import Chain, Chains
from astromesh_history.costs import charge_rows
from astromesh_history.links import Fault, FaultKind, fault_of
from astromesh_history.objects import Objects, stored_values
from astromesh_history.writing import Batch

_AT_A_TIME = 16
"""Commits folded before others get their turn on the event loop: about a millisecond."""

_SEARCHED_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class Applied:
    """The rows to write, and the chains that they bring up to date."""

    batch: Batch
    chains: Sequence[Chain]


class Applier:
    """Applies commits in the log's order. A fault is an alarm; the reading goes on behind it."""

    def __init__(
        self, chains: Chains, objects: Objects, alarms: Alarms, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._chains = chains
        self._objects = objects
        self._alarms = alarms
        self._clock = clock

    async def apply(self, commits: Sequence[ProjectedCommit], reached: Position) -> Applied:
        """The rows of these commits; their chains must be loaded. Up to `reached` the log was applied before."""
        batch = Batch(commits[-1].position.encode())
        touched: dict[int, Chain] = {}
        for number, commit in enumerate(commits, 1):
            chain = self._chains.of(commit.aggregate)
            touched[chain.number] = chain
            await self._take(chain, commit, batch, again=commit.position <= reached)
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        for chain in touched.values():
            batch.aggregates.append(chain.row())
            await self._index(chain, batch)
        return Applied(batch, list(touched.values()))

    async def _take(self, chain: Chain, commit: ProjectedCommit, batch: Batch, *, again: bool) -> None:
        fresh: list[StoredEvent] = []
        for event in commit.events:
            known = event.index < chain.head.next_index
            if known and again:
                continue
            fault = fault_of(event, chain.head, chain.aggregate)
            if fault is not None:
                self._sound(fault, batch)
            if known:
                continue
            fresh.append(event)
            chain.head = event.head()
            self._fold(chain, event, batch)
            if chain.folder is not None:
                namespace = chain.aggregate.namespace
                batch.charges.extend(charge_rows(chain.number, namespace, chain.folder.run, event.envelope))
            if values := stored_values(event):
                await self._copy(values, chain, event, batch)
        if fresh:
            data = build_commit([event.data for event in fresh])
            batch.commits.append((chain.number, fresh[0].index, chain.head.next_index, data))

    async def _copy(self, values: Sequence[StoredValue], chain: Chain, event: StoredEvent, batch: Batch) -> None:
        for value in values:
            try:
                batch.objects[value.sha256] = await self._objects.fetch(value)
            except NotFound as error:
                self._sound(_fault(chain, "missing-object", event, error.message), batch)

    def _fold(self, chain: Chain, event: StoredEvent, batch: Batch) -> None:
        if chain.folder is None:
            return
        try:
            chain.folder.apply(event.envelope)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # A value of a later release, or a forged one: no event may end the reading of the log.
            self._sound(_fault(chain, "unreadable", event, f"folding it failed: {error!r}"), batch)

    async def _index(self, chain: Chain, batch: Batch) -> None:
        if chain.folder is None or (chain.searchable and not chain.ended):
            return
        run = chain.folder.run
        question = await self._text(run.query, batch)
        batch.texts.append((chain.number, question, await self._text(run.answer, batch)))
        chain.searchable = True

    async def _text(self, content: Content, batch: Batch) -> str:
        if content.HasField("stored"):
            held = batch.objects.get(content.stored.sha256)
            try:
                content = Content.FromString(held) if held is not None else await self._objects.read(content)
            except NotFound:
                return ""  # an alarm told of it when its event came
        return content.text[:_SEARCHED_CHARACTERS]

    def _sound(self, fault: Fault, batch: Batch) -> None:
        self._alarms.sound(fault)
        batch.alarms.append((self._clock(), fault.namespace, fault.aggregate, fault.index, fault.kind, fault.reason))


def _fault(chain: Chain, kind: FaultKind, event: StoredEvent, reason: str) -> Fault:
    return Fault(kind, chain.aggregate.id, chain.aggregate.namespace, event.index, reason)
