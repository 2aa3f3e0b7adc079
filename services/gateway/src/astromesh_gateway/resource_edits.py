"""Changing resources through the API: read, checked by itself and among the others, stored, removed.

Only what the API manages: what a file or Kubernetes declares is changed there.
"""

from __future__ import annotations

import orjson
from pydantic import JsonValue

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import OWNERS, ResourceStore
from astromesh_core.errors import Conflict, InvalidInput
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.parsing import parse_resource
from astromesh_core.resources.policies import policies_of, with_policies
from astromesh_core.resources.problems import InvalidResource, Problem
from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.resource import Resource, stored_resource
from astromesh_core.resources.validation import check
from astromesh_gateway.directory import Directory


class ResourceEdits:
    """Writes resources of one kind in one namespace."""

    def __init__(self, store: ResourceStore, directory: Directory, kind: str, namespace: str) -> None:
        self._store = store
        self._directory = directory
        self._kind = kind
        self._namespace = namespace

    def read(self, body: bytes, *, yaml: bool) -> Resource:
        """The resource that a body declares, with the rules of the policies that it names.

        Raises InvalidResource with each reason, InvalidInput for no JSON.
        """
        resource = self._parsed(body, yaml)
        if resource.kind != self._kind or resource.namespace != self._namespace:
            reason = f"is {resource.key}; here stands {self._kind} of namespace {self._namespace}"
            raise InvalidResource([Problem("", 0, "metadata", reason, code="WrongPlace")])
        self._check_the_only_one(resource)
        others = [
            stored_resource(_key(record), record.spec_json, record.metadata_json, OWNERS[record.managed_by])
            for record in self._directory.records()
            if _key(record) != resource.key
        ]
        problems = [problem for problem in check([*others, resource]) if problem.resource == str(resource.key)]
        if problems:
            raise InvalidResource(problems)
        return with_policies(resource, policies_of(others))

    async def create(self, resource: Resource) -> ResourceRecord:
        """Stores a new resource. Raises Conflict, naming the owner, where it exists."""
        existing = await self._store.get(self._kind, self._namespace, resource.name)
        if existing is not None:
            owner = OWNERS[existing.managed_by]
            raise Conflict(f"{resource.key} exists already, managed by {owner}: " + _how_to_change(owner))
        return await self._put(resource, 0)

    async def replace(self, resource: Resource, expected_generation: int | None) -> ResourceRecord:
        """Stores a new version of a resource that exists.

        Raises NotFound, and Conflict where another side manages it or its generation is not the expected one.
        """
        self._directory.record(self._kind, self._namespace, resource.name)
        return await self._put(resource, expected_generation)

    async def delete(self, name: str) -> None:
        """Removes a resource. Open runs keep the version that they started with. Raises NotFound, Conflict."""
        await self._store.delete(self._kind, self._namespace, name, managed_by=MANAGED_BY_API)
        await self._directory.shows(ResourceRef(kind=self._kind, namespace=self._namespace, name=name), 0)

    async def _put(self, resource: Resource, expected_generation: int | None) -> ResourceRecord:
        stored = await self._store.put(_record(resource), expected_generation=expected_generation)
        await self._directory.shows(stored.ref, stored.generation)
        return stored

    def _check_the_only_one(self, resource: Resource) -> None:
        """Of two RuntimeConfigs of a namespace nobody could say which one holds. Raises InvalidResource."""
        if resource.kind != "RuntimeConfig":
            return
        for record in self._directory.records("RuntimeConfig", self._namespace):
            if record.ref.name != resource.name:
                owner = OWNERS[record.managed_by]
                reason = (
                    f"is a second RuntimeConfig; a namespace has one, and {_key(record)} (managed by {owner}) is it"
                )
                hint = "put both into one" if owner == "api" else "change that one there"
                raise InvalidResource([Problem("", 0, "metadata.name", reason, hint, code="DuplicateRuntimeConfig")])

    def _parsed(self, body: bytes, yaml: bool) -> Resource:
        if not yaml:
            try:
                value: JsonValue = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"the body is not JSON in UTF-8: {error}") from None
            return parse_resource(value, managed_by="api", namespace=self._namespace)
        loaded = load_text(body, "", managed_by="api", namespace=self._namespace)
        if loaded.problems:
            raise InvalidResource(loaded.problems)
        if len(loaded.resources) != 1:
            reason = f"holds {len(loaded.resources)} resources where one is expected"
            raise InvalidResource([Problem("", 0, "", reason, "send each by itself")])
        return loaded.resources[0]


def _how_to_change(owner: str) -> str:
    return "replace it with PUT" if owner == "api" else "change it there"


def _key(record: ResourceRecord) -> ResourceKey:
    return ResourceKey(record.ref.kind, record.ref.namespace, record.ref.name)


def _record(resource: Resource) -> ResourceRecord:
    return ResourceRecord(
        ref=ResourceRef(kind=resource.kind, namespace=resource.namespace, name=resource.name),
        managed_by=MANAGED_BY_API,
        spec_json=resource.spec_json,
        metadata_json=resource.metadata_json,
    )
