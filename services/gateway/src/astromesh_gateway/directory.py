"""The resources as the gateway sees them: watched, held in memory, so that admitting a run asks nobody.

Writing resources stands in `routes.agents`; what is Ready is the operator's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress

from astromesh.v1.control_pb2 import CONDITION_STATUS_FALSE, Condition, ResourceRecord, ResourceStatus
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import ResourceChange, ResourceStore
from astromesh_core.bus.status_store import StatusChange, StatusStore
from astromesh_core.errors import Conflict, NotFound, NotSupported
from astromesh_core.events.identity import DEFAULT_NAMESPACE
from astromesh_core.readiness import Health
from astromesh_core.resources.conditions import CONFIG_FOLDER, NOT_SUPPORTED, READY, SERVICE_DISABLED, TOOLS_CONNECTED
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.runtime_config import ApiKey, Mcp, RuntimeConfigSpec

SHOWN_SECONDS = 1.0
"""How long who changed a resource waits at most to see it: so that the next call finds what this one made."""

_JUDGED_BY_THE_CALL = frozenset({"ProviderReachable", "MemoryConnected", TOOLS_CONNECTED})
"""Conditions that may have changed since they were observed: a run finds out by itself, and has fallbacks."""

_Key = tuple[str, str, str]

_UNCONFIGURED = RuntimeConfigSpec()


class Directory:
    """Every resource and its status, a moment old. Reads never wait."""

    def __init__(self) -> None:
        self._records: dict[_Key, ResourceRecord] = {}
        self._statuses: dict[_Key, ResourceStatus] = {}
        self._configs: dict[_Key, RuntimeConfigSpec] = {}
        self._api_keys: Sequence[ApiKey] = ()
        self.synced = asyncio.Event()
        """Set once everything that stood at the start is here."""
        self.changed = asyncio.Condition()
        """Notified after every change of a resource or of what is observed of it."""

    def agent(self, namespace: str, name: str) -> ResourceRef:
        """The agent's newest version, for a new run.

        Raises NotFound, NotSupported where it uses what is not built or installed, Conflict where it is not ready.
        """
        record = self._records.get(("Agent", namespace, name))
        if record is None:
            raise NotFound(f"there is no agent {name[:80]!r} in namespace {namespace!r}{self._why(namespace, name)}")
        status = self._statuses.get(("Agent", namespace, name))
        if status is not None and status.observed_generation == record.generation:
            _refuse_unready(name, status)
        return record.ref

    def record(self, kind: str, namespace: str, name: str) -> ResourceRecord:
        """The resource as it is stored. Raises NotFound."""
        record = self._records.get((kind, namespace, name))
        if record is None:
            raise NotFound(f"there is no {kind} {name[:80]!r} in namespace {namespace!r}")
        return record

    def status(self, record: ResourceRecord) -> ResourceStatus | None:
        """What is observed of the resource; None before anything was."""
        return self._statuses.get((record.ref.kind, record.ref.namespace, record.ref.name))

    def records(self, kind: str | None = None, namespace: str | None = None) -> list[ResourceRecord]:
        """The resources of a kind and a namespace, or of all, by name."""
        found = (
            (key, record)
            for key, record in self._records.items()
            if kind in (None, key[0]) and namespace in (None, key[1])
        )
        return [record for _, record in sorted(found, key=lambda item: item[0])]

    def never_good(self, kind: str, namespace: str) -> list[ResourceStatus]:
        """What the operator says of declared resources that are not stored, for no version of them was good; by name.

        Theirs are `ready` False, a condition with the reason, and `refused_edit`.
        """
        found = (status for key, status in self._statuses.items() if key[:2] == (kind, namespace))
        return sorted((status for status in found if self._is_never_good(status)), key=lambda status: status.ref.name)

    def refused_files(self, namespace: str) -> list[str]:
        """What is wrong with files and belongs to no resource, a line each. Told in the namespace of those who write
        them."""
        key = (CONFIG_FOLDER.kind, CONFIG_FOLDER.namespace, CONFIG_FOLDER.name)
        status = self._statuses.get(key) if namespace == CONFIG_FOLDER.namespace else None
        return status.refused_edit.splitlines() if status is not None else []

    def switched_off(self) -> frozenset[str]:
        """The services that a RuntimeConfig switches off."""
        return frozenset[str]().union(*(config.services.off for config in self._configs.values()))

    def api_keys(self) -> Sequence[ApiKey]:
        """Every key that may call the mesh."""
        return self._api_keys

    def max_open_runs(self, namespace: str) -> int:
        """How many runs the namespace may have open: by its own RuntimeConfig, else by the default namespace's."""
        return self._config(namespace).admission.max_open_runs

    def mcp(self, namespace: str) -> Mcp:
        """Which agents of the namespace MCP clients are offered: by the same RuntimeConfig."""
        return self._config(namespace).mcp

    def _config(self, namespace: str) -> RuntimeConfigSpec:
        for wanted in (namespace, DEFAULT_NAMESPACE):
            for (_, config_namespace, _), config in self._configs.items():
                if config_namespace == wanted:
                    return config
        return _UNCONFIGURED

    async def shows(self, ref: ResourceRef, generation: int) -> None:
        """Returns once this generation of the resource, or a later one, is here; 0: once there is none.

        Returns after a second in any case: what somebody else undid meanwhile never shows.
        """
        key = (ref.kind, ref.namespace, ref.name)
        with suppress(TimeoutError):
            async with asyncio.timeout(SHOWN_SECONDS), self.changed:
                await self.changed.wait_for(lambda: self._is_at(key, generation))

    async def health(self) -> Health:
        """Whether the resources are loaded."""
        if not self.synced.is_set():
            return Health(False, "resources are still being read")
        refused = sum(bool(status.refused_edit) for status in self._statuses.values())
        return Health(True, f"{len(self._records)} resources" + (f"; refused edits: {refused}" if refused else ""))

    async def take_resources(self, resources: ResourceStore) -> None:
        """Follows the stored resources until cancelled."""
        async with aclosing(resources.watch(self.synced)) as changes:
            async for change in changes:
                await self._take(change)

    async def take_statuses(self, statuses: StatusStore) -> None:
        """Follows what is observed of them until cancelled."""
        async with aclosing(statuses.watch()) as changes:
            async for change in changes:
                await self._take_status(change)

    async def _take(self, change: ResourceChange) -> None:
        key = (change.kind, change.namespace, change.name)
        if change.record is None:
            self._records.pop(key, None)
            self._configs.pop(key, None)
        else:
            self._records[key] = change.record
            if change.kind == "RuntimeConfig":
                self._configs[key] = RuntimeConfigSpec.model_validate_json(change.record.spec_json)
        if change.kind == "RuntimeConfig":
            self._api_keys = [key for config in self._configs.values() for key in config.api_keys]
        async with self.changed:
            self.changed.notify_all()

    async def _take_status(self, change: StatusChange) -> None:
        key = (change.kind, change.namespace, change.name)
        if change.record is None:
            self._statuses.pop(key, None)
        else:
            self._statuses[key] = change.record
        async with self.changed:
            self.changed.notify_all()

    def _is_at(self, key: _Key, generation: int) -> bool:
        record = self._records.get(key)
        return record is None if generation == 0 else record is not None and record.generation >= generation

    def _is_never_good(self, status: ResourceStatus) -> bool:
        # A generation was observed of what is stored, or was until a moment ago.
        key = (status.ref.kind, status.ref.namespace, status.ref.name)
        return status.observed_generation == 0 and bool(status.refused_edit) and key not in self._records

    def _why(self, namespace: str, name: str) -> str:
        status = self._statuses.get(("Agent", namespace, name))
        if status is not None and self._is_never_good(status):
            return f"; what declares it is refused: {'; '.join(status.refused_edit.splitlines())}"
        names = [key[2] for key in self._records if key[:2] == ("Agent", namespace)]
        hint = did_you_mean(name, names)
        return f"; {hint}" if hint else ""


@asynccontextmanager
async def watching(resources: ResourceStore, statuses: StatusStore) -> AsyncGenerator[Directory]:
    """A directory that follows the stores within the block."""
    directory = Directory()
    tasks = [
        asyncio.create_task(directory.take_resources(resources), name="resources"),
        asyncio.create_task(directory.take_statuses(statuses), name="status"),
    ]
    try:
        yield directory
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def _refuse_unready(name: str, status: ResourceStatus) -> None:
    failing = [condition for condition in status.conditions if condition.status == CONDITION_STATUS_FALSE]
    ready = next((condition for condition in failing if condition.type == READY), None)
    if ready is None:
        return
    if ready.reason == NOT_SUPPORTED:
        raise NotSupported(f"agent {name!r} is not ready: {_said(ready)}")
    others = [condition for condition in failing if condition is not ready]
    blocking = [
        condition
        for condition in others
        if condition.type not in _JUDGED_BY_THE_CALL or condition.reason == SERVICE_DISABLED
    ]
    if blocking or not others:
        raise Conflict(f"agent {name!r} is not ready: {'; '.join(map(_said, blocking or [ready]))}")


def _said(condition: Condition) -> str:
    return condition.message or condition.reason
