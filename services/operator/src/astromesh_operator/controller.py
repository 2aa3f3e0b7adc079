"""Compares what is desired with what is observed, of every resource whoever owns it, and writes KV `status`.

Each resource has a task: it asks, writes the status where it changed, and waits for a change, or a while. What cannot
be told yet is asked again soon, with growing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, Observation, ResourceRecord, ResourceStatus
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import ResourceStore
from astromesh_core.bus.status_store import StatusStore
from astromesh_core.errors import TemporaryError
from astromesh_core.resources.conditions import Condition
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.traceparent import enter_trace, unrecorded
from astromesh_operator.observing import Observed, Observer
from astromesh_operator.planning import lines_of
from astromesh_operator.publishing import resource_of
from astromesh_operator.statuses import figures_json, judged, never_good, status_of, unreadable, unsettled
from astromesh_operator.told import Told, remembered

TOLD_KINDS: Final = ("Provider", "RAGPipeline")
"""Kinds of which services tell by themselves; of the others the operator asks."""

REFRESH_SECONDS: Final = 15.0
"""How often a resource of which all is known is asked about again: providers come and go."""

_SOON_SECONDS: Final = 0.1
_AT_ONCE: Final = 8

Refused = Mapping[ResourceKey, tuple[Problem, ...]]

_log = logger(__name__)


@dataclass
class _Tended:
    """What the task of a resource looks at. Without record and refusal it ends."""

    record: ResourceRecord | None = None
    refused: tuple[Problem, ...] = ()
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Controller:
    """Keeps the status of every resource true. `run` it once."""

    def __init__(
        self,
        resources: ResourceStore,
        status: StatusStore,
        observer: Observer,
        now: Callable[[], datetime],
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self._resources = resources
        self._store = status
        self._observer = observer
        self._now = now
        self._refresh = refresh_seconds
        self._tended: dict[ResourceKey, _Tended] = {}
        self._sources: dict[ResourceKey, Resource] = {}
        self._written: dict[ResourceKey, ResourceStatus] = {}
        self._told: dict[ResourceKey, Told] = {}
        self._off: frozenset[str] = frozenset()
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._tasks: asyncio.TaskGroup | None = None
        self.on_foreign_change: Callable[[str], None] = _nothing
        """Called with the kind of a resource that changed and that files do not own: what they say may now be right, or
        wrong."""

    def decided(self, sources: Mapping[ResourceKey, Resource], refused: Refused) -> None:
        """Takes note of what the files say: where each field stands, and which edits are refused."""
        self._sources = dict(sources)
        for key in {*refused, *self._tended}:
            problems = refused.get(key, ())
            tended = self._tended.get(key)
            if problems != (tended.refused if tended else ()):
                self._touch(key).refused = problems

    def told(self, observation: Observation) -> None:
        """Takes in what a service observed unasked."""
        key = _key(observation.ref)
        self._told.setdefault(key, Told()).hear(observation)
        if key in self._tended:
            self._touch(key)

    async def run(self) -> None:
        """Watches and tends until it is cancelled."""
        self._written = {_key(status.ref): status for status in await self._store.list()}
        for key, status in self._written.items():
            if key.kind in TOLD_KINDS:
                self._told.setdefault(key, remembered(status))
        synced = asyncio.Event()
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._forget_strangers(synced))
            for key in self._tended:
                self._tasks.create_task(self._tend(key))
            async with aclosing(self._resources.watch(synced)) as changes:
                async for change in changes:
                    key = ResourceKey(change.kind, change.namespace, change.name)
                    before = self._tended[key].record if key in self._tended else None
                    self._touch(key).record = change.record
                    if key.kind == "RuntimeConfig":
                        self._switch()
                    if synced.is_set() and not _from_file(change.record or before):
                        self.on_foreign_change(key.kind)

    def _touch(self, key: ResourceKey) -> _Tended:
        tended = self._tended.get(key)
        if tended is None:
            tended = self._tended[key] = _Tended()
            if self._tasks is not None:
                self._tasks.create_task(self._tend(key))
        tended.changed.set()
        return tended

    def _switch(self) -> None:
        """Has everything judged anew where other services are switched off than before."""
        configs = [tended.record for key, tended in self._tended.items() if key.kind == "RuntimeConfig"]
        resources = [resource_of(record) for record in configs if record is not None]
        specs = [resource.spec for resource in resources if resource is not None]
        off = frozenset[str]().union(*(spec.services.off for spec in specs if isinstance(spec, RuntimeConfigSpec)))
        if off != self._off:
            self._off = off
            for key in self._tended:
                self._touch(key)

    async def _forget_strangers(self, synced: asyncio.Event) -> None:
        await synced.wait()
        for key in set(self._written) - set(self._tended):
            self._touch(key)

    async def _tend(self, key: ResourceKey) -> None:
        tended, pause = self._tended[key], _SOON_SECONDS
        enter_trace(unrecorded())
        while True:
            tended.changed.clear()
            if tended.record is None and not tended.refused:
                await self._forget(key)
                if not tended.changed.is_set():
                    del self._tended[key]
                    return
                continue
            status = await self._status(key, tended)
            settled = await self._write(key, status) and not unsettled(status)
            pause = self._refresh if settled else min(pause * 2, self._refresh)
            try:
                async with asyncio.timeout(pause):
                    await tended.changed.wait()
                pause = _SOON_SECONDS
            except TimeoutError:
                continue

    async def _status(self, key: ResourceKey, tended: _Tended) -> ResourceStatus:
        # While services are asked, the resource may go: what was asked about is what is told of.
        previous, record = self._written.get(key), tended.record
        if record is None:
            ref = ResourceRef(kind=key.kind, namespace=key.namespace, name=key.name)
            status = status_of(ref, 0, never_good(tended.refused, self._now()), previous, self._now())
        else:
            observed, conditions = await self._conditions(key, record)
            ref, generation = record.ref, record.generation
            status = status_of(ref, generation, conditions, previous, self._now())
            status.figures_json = figures_json(observed.figures)
        status.refused_edit = lines_of(tended.refused)
        return status

    async def _conditions(self, key: ResourceKey, record: ResourceRecord) -> tuple[Observed, list[Condition]]:
        observed, resource = Observed(), self._resource(key, record)
        if resource is None:
            return observed, [unreadable(self._now())]
        gaps = unsupported(resource)
        if not gaps:
            async with self._asking:
                observed = await self._observer.observe(resource, record.ref, self._off)
            observed = self._told.get(key, Told()).beside(observed, record.ref.sha256)
        return observed, judged(key.kind, gaps, observed, self._now())

    def _resource(self, key: ResourceKey, record: ResourceRecord) -> Resource | None:
        source = self._sources.get(key)
        return source if source is not None and source.sha256 == record.ref.sha256 else resource_of(record)

    async def _write(self, key: ResourceKey, status: ResourceStatus) -> bool:
        before = self._written.get(key)
        if status == before:
            return True
        try:
            await self._store.put(status)
        except TemporaryError as error:
            _log.warning("status not written, trying again", resource=str(key), reason=error.message)
            return False
        self._written[key] = status
        if before is None or before.ready != status.ready:
            ready = status.conditions[-1]
            _log.info("resource", resource=str(key), ready=status.ready, reason=ready.reason, message=ready.message)
        return True

    async def _forget(self, key: ResourceKey) -> None:
        try:
            await self._store.delete(key.kind, key.namespace, key.name)
        except TemporaryError as error:
            _log.warning("status not deleted, trying again", resource=str(key), reason=error.message)
            self._tended[key].changed.set()
            await asyncio.sleep(1.0)
        else:
            self._written.pop(key, None)
            self._told.pop(key, None)


def _key(ref: ResourceRef) -> ResourceKey:
    return ResourceKey(ref.kind, ref.namespace, ref.name)


def _from_file(record: ResourceRecord | None) -> bool:
    return record is None or record.managed_by == MANAGED_BY_FILE


def _nothing(kind: str) -> None:
    del kind
