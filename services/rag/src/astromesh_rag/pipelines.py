"""The pipelines of the mesh as they are declared now, each on its store. Filling them is done elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import OWNERS
from astromesh_core.errors import InvalidInput, NotFound, NotSupported, PermanentError
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.resource import Resource, stored_resource
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_vectors.ports import Embedder, VectorStore

OpenStore = Callable[[Path], VectorStore]
"""Opens the store in a folder, for vectors of the one embedder there is."""


@dataclass(slots=True)
class Declared:
    """A declared pipeline: one that is served, or the reason why it is not."""

    ref: ResourceRef
    spec: RAGPipelineSpec | None
    pipeline: Pipeline | None
    refusal: PermanentError | None = None
    confined: bool = False
    """It may take in files of the config folder only: whoever declared it cannot write there."""


class Pipelines:
    """Opens, changes and closes pipelines. A change of settings keeps the store, so that no query is dropped."""

    def __init__(self, data: Path, models: Models, open_store: OpenStore) -> None:
        self._root = data / "rag"
        self._models = models
        self._open_store = open_store
        self._declared: dict[ResourceKey, Declared] = {}
        self._stores: dict[Path, VectorStore] = {}

    def get(self, namespace: str, name: str) -> Declared:
        """The pipeline, which is served. Raises NotFound naming those that there are, or why it is not served."""
        found = self._declared.get(ResourceKey("RAGPipeline", namespace, name))
        if found is None:
            names = ", ".join(declared.ref.name for declared in self.of(namespace)) or "none"
            raise NotFound(f"there is no pipeline {name[:80]!r} in namespace {namespace}; there are: {names}")
        if found.refusal is not None:
            raise found.refusal
        return found

    def of(self, namespace: str) -> list[Declared]:
        """The pipelines of a namespace by name, those that are not served included."""
        return [self._declared[key] for key in sorted(self._declared) if key.namespace == namespace]

    def put(self, record: ResourceRecord) -> Declared | None:
        """Takes a pipeline as it is declared now; None where nothing changed."""
        key = ResourceKey(record.ref.kind, record.ref.namespace, record.ref.name)
        before = self._declared.get(key)
        if before is not None and before.ref == record.ref and before.confined == _is_confined(record):
            return None
        declared = self._declared[key] = self._opened(key, record, before.pipeline if before else None)
        return declared

    def remove(self, namespace: str, name: str) -> None:
        """Serves the pipeline no more. What it holds stays in its folder."""
        self._declared.pop(ResourceKey("RAGPipeline", namespace, name), None)

    async def close(self) -> None:
        """Closes every store."""
        stores, self._stores = self._stores, {}
        for store in stores.values():
            await store.close()

    def _opened(self, key: ResourceKey, record: ResourceRecord, before: Pipeline | None) -> Declared:
        try:
            resource = stored_resource(key, record.spec_json, record.metadata_json, OWNERS[record.managed_by])
        except ValidationError as error:
            refusal = NotSupported(f"{key} was declared for another release: {error.error_count()} fields differ")
            return Declared(record.ref, None, None, refusal)
        assert isinstance(resource.spec, RAGPipelineSpec)
        spec, confined = resource.spec, _is_confined(record)
        refusal = _refusal(resource, spec, self._models.embedder)
        if refusal is not None:
            return Declared(record.ref, spec, None, refusal, confined)
        folder = self._folder(key, spec.vector_store.collection)
        store = self._stores.get(folder)
        if store is None:
            store = self._stores[folder] = self._open_store(folder)
        if before is not None and before.store is store:
            before.ref, before.spec = record.ref, spec
            return Declared(record.ref, spec, before, None, confined)
        pipeline = Pipeline(record.ref, spec, store, self._models, folder)
        return Declared(record.ref, spec, pipeline, None, confined)

    def _folder(self, key: ResourceKey, collection: str | None) -> Path:
        folder = self._root / key.namespace / key.name
        if collection is None:
            return folder
        # A collection's name is anybody's text: as a folder's name it may neither part nor climb a path.
        return folder / "collections" / quote(collection, safe="").replace(".", "%2E")


def _is_confined(record: ResourceRecord) -> bool:
    return record.managed_by == MANAGED_BY_API


def _refusal(resource: Resource, spec: RAGPipelineSpec, embedder: Embedder) -> PermanentError | None:
    missing = unsupported(resource)
    if missing:
        return NotSupported(f"{resource.key} cannot be served: {'; '.join(map(str, missing))}")
    for field, dimension in (
        ("embeddings.dimension", spec.embeddings.dimension),
        ("vector_store.dimensions", spec.vector_store.dimensions),
    ):
        if dimension not in (None, embedder.dimension):
            made = f"{embedder.name} makes vectors of {embedder.dimension}"
            return InvalidInput(f"{resource.key}: {field} is {dimension}, but {made}; write {embedder.dimension}")
    return None
