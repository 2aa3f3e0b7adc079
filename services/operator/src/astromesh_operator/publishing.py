"""Does what a plan says to KV `resources`, and tells what was decided. What is right stands in `planning`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from pydantic import ValidationError

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import OWNERS, ResourceStore
from astromesh_core.errors import Conflict, NotFound
from astromesh_core.resources.parsing import Loaded
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.resource import Resource, stored_resource
from astromesh_core.telemetry.logs import logger
from astromesh_operator.planning import Plan, Stored, plan

# What is referred to is there before who refers to it.
_ORDER: Final = ("RuntimeConfig", "Provider", "RAGPipeline", "GuardrailPolicy", "Agent", "Channel")

_MANAGED: Final = {name: number for number, name in OWNERS.items()}

_log = logger(__name__)


class Publisher:
    """Plans and publishes. What it logged once it does not repeat."""

    def __init__(self, resources: ResourceStore) -> None:
        self._resources = resources
        self._told: frozenset[Problem] = frozenset()

    async def plan(self, loaded: Loaded) -> Plan:
        """Decides what the files mean for what serves now, and logs what is refused. Raises Unavailable, TimedOut."""
        stored = stored_of(await self._resources.list())
        decided = plan(loaded, stored)
        self._tell(decided, {problem for key in decided.refused.keys() & stored for problem in decided.refused[key]})
        return decided

    async def apply(self, decided: Plan) -> None:
        """Makes KV hold what was decided. Idempotent. Raises Unavailable or TimedOut: then plan again."""
        for resource in sorted(decided.put, key=lambda resource: _ORDER.index(resource.kind)):
            await self._put(resource)
        for refilled in decided.refilled:
            await self._refill(refilled)
        for key in sorted(decided.delete, key=lambda key: -_ORDER.index(key.kind)):
            await self._delete(key)

    async def _put(self, resource: Resource) -> None:
        try:
            await self._resources.put(record_of(resource))
        except Conflict as error:
            # Somebody else made one of this name since the plan was made; the next plan refuses ours.
            _log.warning("resource not stored", resource=str(resource.key), reason=error.message)

    async def _refill(self, stored: Stored) -> None:
        """Stores an agent that another side manages with the rules that its policies have now."""
        record = record_of(stored.resource)
        record.managed_by, record.origin = _MANAGED[stored.resource.managed_by], ""
        try:
            await self._resources.put(record, expected_generation=stored.generation)
        except Conflict as error:
            # It was changed meanwhile, by somebody who saw the policy too.
            _log.info("resource not refilled", resource=str(stored.resource.key), reason=error.message)

    async def _delete(self, key: ResourceKey) -> None:
        try:
            await self._resources.delete(key.kind, key.namespace, key.name, managed_by=MANAGED_BY_FILE)
        except (NotFound, Conflict) as error:
            _log.warning("resource not deleted", resource=str(key), reason=error.message)
        else:
            _log.info("resource deleted", resource=str(key), reason="gone from the config folder")

    def _tell(self, decided: Plan, stands: Collection[Problem]) -> None:
        now = frozenset(decided.problems)
        for problem in sorted(now - self._told, key=lambda problem: (problem.file, problem.line)):
            _log.error(
                "refused, and what was good before keeps serving" if problem in stands else "refused",
                file=problem.file,
                line=problem.line,
                field=problem.path,
                reason=problem.reason,
                hint=problem.hint,
                code=problem.code,
                resource=problem.resource,
            )
        self._told = now


def stored_of(records: Iterable[ResourceRecord]) -> dict[ResourceKey, Stored]:
    """The resources that serve now. One that this release cannot read is left out: a good edit replaces it."""
    stored: dict[ResourceKey, Stored] = {}
    for record in records:
        key = ResourceKey(record.ref.kind, record.ref.namespace, record.ref.name)
        resource = resource_of(record)
        if resource is not None:
            stored[key] = Stored(resource, record.origin.rpartition(":")[0] or record.origin, record.generation)
    return stored


def resource_of(record: ResourceRecord) -> Resource | None:
    """Reads a record; None where this release cannot."""
    key = ResourceKey(record.ref.kind, record.ref.namespace, record.ref.name)
    try:
        return stored_resource(key, record.spec_json, record.metadata_json, OWNERS[record.managed_by])
    except (ValidationError, KeyError) as error:
        _log.warning("a stored resource cannot be read", resource=str(key), reason=str(error))
        return None


def record_of(resource: Resource) -> ResourceRecord:
    """What is stored of a resource of the folder."""
    file, _, line = resource.locate(())
    return ResourceRecord(
        ref=ResourceRef(kind=resource.kind, namespace=resource.namespace, name=resource.name),
        managed_by=MANAGED_BY_FILE,
        spec_json=resource.spec_json,
        metadata_json=resource.metadata_json,
        origin=f"{file}:{line}",
    )
