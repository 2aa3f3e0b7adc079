"""The pipelines of the mesh as they are declared now, each on its store. Filling them is done elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.values_pb2 import Passage, ResourceRef
from astromesh_core.bus.resource_store import OWNERS
from astromesh_core.errors import (
    AstromeshError,
    InvalidInput,
    NotFound,
    NotSupported,
    PermanentError,
    Unavailable,
)
from astromesh_core.filters import Filter
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.resource import Resource, stored_resource
from astromesh_core.resources.stores import StorePlace
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.tracing import Spans, UnrecordedSpans
from astromesh_native.rulers import Words
from astromesh_rag.intake import OpenReranker
from astromesh_rag.parsing import Parser
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_rag.succession import LostEmbedder, Whole, note, noted
from astromesh_vectors.embedders.prefixed import for_passages, for_queries
from astromesh_vectors.embedders.served import ServedEmbedder
from astromesh_vectors.minilm.shared import SharedMiniLM
from astromesh_vectors.opening import Collection
from astromesh_vectors.ports import Embedder, VectorStore

OpenEmbedder = Callable[[EmbeddingsSpec], Awaitable[ServedEmbedder]]
"""Opens the embedder that a pipeline declares; equal ones are one, and somebody else closes it."""

OpenStore = Callable[[StorePlace, Collection, bool], VectorStore]
"""Opens the store that a pipeline declares, for the vectors of a model. Where the last is true, whoever declared it may
name no folder outside the mesh's data folder."""

OPENING_SECONDS = 5.0
"""How long a query waits for a pipeline that is being opened: a model server may have to be asked first."""

_log = logger(__name__)


@dataclass(slots=True)
class Declared:
    """A declared pipeline: one that is served, one that is being opened, or the reason why it is neither.

    `pipeline` is what is taken into; while that is filled for the first time, `predecessor` answers what is asked.
    """

    ref: ResourceRef
    spec: RAGPipelineSpec | None
    pipeline: Pipeline | None
    refusal: AstromeshError | None = None
    confined: bool = False
    """It may take in files of the config folder only: whoever declared it cannot write there."""
    embedder: ServedEmbedder | None = None
    predecessor: Pipeline | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is served or refused."""

    async def query(self, text: str, top_k: int, where: Filter | None = None) -> list[Passage]:
        """See Pipeline.query. Where the predecessor's model or store is away, what there is of the new answers."""
        assert self.pipeline is not None
        if self.predecessor is not None:
            try:
                found = await self.predecessor.query(text, top_k, where)
                if found:  # another replica may have come to the new ones, and emptied the old
                    return found
            except AstromeshError as error:
                _log.warning("the new vectors answer before they are whole", pipeline=self.ref.name, reason=str(error))
        return await self.pipeline.query(text, top_k, where)


class Pipelines:
    """Opens, changes and closes pipelines. A change of settings keeps the store, so that no query is dropped."""

    def __init__(
        self,
        data: Path,
        words: Words,
        open_embedder: OpenEmbedder,
        open_store: OpenStore,
        open_reranker: OpenReranker | None = None,
        spans: Spans | None = None,
    ) -> None:
        """`data` is the mesh's data folder. Embedders and rerankers are somebody else's to close."""
        self._data = data
        self._words = words
        self._open_embedder = open_embedder
        self._open_store = open_store
        self._open_reranker = open_reranker
        self._parser = Parser()
        self._spans = spans or UnrecordedSpans()
        self._declared: dict[ResourceKey, Declared] = {}
        self._stores: dict[tuple[StorePlace, Collection], VectorStore] = {}

    async def get(self, namespace: str, name: str) -> Declared:
        """The pipeline, which is served. Raises NotFound naming those that there are, or why it is not served."""
        found = self._declared.get(ResourceKey("RAGPipeline", namespace, name))
        if found is None:
            names = ", ".join(declared.ref.name for declared in self.of(namespace)) or "none"
            raise NotFound(f"there is no pipeline {name[:80]!r} in namespace {namespace}; there are: {names}")
        if found.pipeline is None and found.refusal is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(OPENING_SECONDS):
                    await found.settled.wait()
        if found.refusal is not None:
            raise found.refusal
        if found.pipeline is None:
            raise Unavailable(f"the pipeline {name} is being opened: its model or its store does not answer yet")
        return found

    def of(self, namespace: str) -> list[Declared]:
        """The pipelines of a namespace by name, those that are not served included."""
        return [self._declared[key] for key in sorted(self._declared) if key.namespace == namespace]

    def put(self, record: ResourceRecord) -> Declared | None:
        """Takes a pipeline as it is declared now, to be opened; None where nothing changed.

        What was served before under its name is served until `open` is done.
        """
        key = ResourceKey(record.ref.kind, record.ref.namespace, record.ref.name)
        before = self._declared.get(key)
        if before is not None and before.ref == record.ref and before.confined == _is_confined(record):
            return None
        declared = self._declared[key] = _declared(key, record)
        if declared.refusal is None and before is not None:
            declared.pipeline, declared.embedder = before.pipeline, before.embedder
            declared.predecessor = before.predecessor
        return declared

    async def open(self, declared: Declared) -> None:
        """Opens model and store. Afterwards the pipeline is served as it is declared, or `refusal` says why it is not.

        May be called again after a failure.
        """
        spec = declared.spec
        assert spec is not None
        declared.embedder = None
        try:
            embedder = declared.embedder = await self._open_embedder(spec.embeddings)
            _check_dimensions(declared, spec, embedder)
            if declared.pipeline is None:
                declared.predecessor = await self._left(declared, _kept_at(declared.ref, spec, _asked(spec, embedder)))
            self._serve(declared, spec, embedder)
        except AstromeshError as error:
            declared.refusal, declared.pipeline = error, None
        declared.settled.set()

    def remove(self, namespace: str, name: str) -> None:
        """Serves the pipeline no more. What it holds stays in its folder."""
        self._declared.pop(ResourceKey("RAGPipeline", namespace, name), None)

    async def close(self) -> None:
        """Closes every store, and ends the process that documents are read in."""
        await self._parser.close()
        stores, self._stores = self._stores, {}
        for store in stores.values():
            await store.close()

    async def succeed(self, declared: Declared) -> list[str]:
        """Lets the pipeline answer by itself, now that it holds everything, and empties its predecessor.

        First it takes in what only requests brought; the answer names those documents whose texts were not kept. Then
        they stay where they are.
        """
        pipeline, before, spec = declared.pipeline, declared.predecessor, declared.spec
        assert pipeline is not None
        assert spec is not None
        lost = [] if before is None else await pipeline.take_over(before)
        declared.predecessor = None
        model = pipeline.models.embedder
        whole = Whole(model=model.name, dimension=model.dimension, spec=spec)
        await asyncio.to_thread(note, self._folder(declared.ref), whole)
        if before is not None and not lost:
            await before.empty()
        return lost

    def _serve(self, declared: Declared, spec: RAGPipelineSpec, embedder: ServedEmbedder) -> None:
        queries = _asked(spec, embedder)
        documents = for_passages(embedder.remembering, spec.embeddings.prefixes)
        place, collection = _kept_at(declared.ref, spec, queries)
        store = self._store(place, collection, declared.confined)
        models = Models(queries, self._words, documents, self._open_reranker, parser=self._parser, spans=self._spans)
        before = declared.pipeline
        if before is not None and before.store is store:
            before.ref, before.spec, before.models = declared.ref, spec, models
        else:
            if declared.predecessor is None:
                declared.predecessor = before
            elif declared.predecessor.store is store:
                declared.predecessor = None  # back to what was whole
            declared.pipeline = Pipeline(declared.ref, spec, store, models, self._data / collection.name)
        declared.refusal = None

    async def _left(self, declared: Declared, at: tuple[StorePlace, Collection]) -> Pipeline | None:
        """What was whole before the last stop, where it stands elsewhere than what is declared now."""
        whole = await asyncio.to_thread(noted, self._folder(declared.ref))
        if whole is None:
            return None
        embedder: Embedder
        try:
            opened = await self._open_embedder(whole.spec.embeddings)
            queries = _asked(whole.spec, opened)
            # What was taken in before its model's prefixes were known is asked without them, too.
            embedder = queries if queries.name == whole.model else opened
        except AstromeshError as error:
            embedder = LostEmbedder(whole.model, whole.dimension, error)
        place, collection = _kept_at(declared.ref, whole.spec, embedder)
        if (place, collection) == at:
            return None
        try:
            store = self._store(place, collection, declared.confined)
        except AstromeshError as error:
            _log.warning("what was kept before is out of reach", pipeline=declared.ref.name, reason=error.message)
            return None
        models = Models(embedder, self._words, rerankers=self._open_reranker, parser=self._parser, spans=self._spans)
        return Pipeline(declared.ref, whole.spec, store, models, self._data / collection.name)

    def _store(self, place: StorePlace, collection: Collection, confined: bool) -> VectorStore:
        store = self._stores.get((place, collection))
        if store is None:
            store = self._stores[place, collection] = self._open_store(place, collection, confined)
        return store

    def _folder(self, ref: ResourceRef) -> Path:
        return self._data / "rag" / ref.namespace / ref.name


def _asked(spec: RAGPipelineSpec, embedder: Embedder) -> Embedder:
    """What makes vectors of questions; by its name those of passages are kept."""
    return for_queries(embedder, spec.embeddings.prefixes)


def _kept_at(ref: ResourceRef, spec: RAGPipelineSpec, embedder: Embedder) -> tuple[StorePlace, Collection]:
    """Where the vectors of a declaration are kept."""
    name = _name(ref, spec.vector_store.collection, embedder)
    return spec.vector_store.place, Collection(name, embedder.name, embedder.dimension)


def _name(ref: ResourceRef, collection: str | None, embedder: Embedder) -> str:
    """The collection's name, which is a path too: a name is anybody's text, and may neither part nor climb one."""
    name = f"rag/{ref.namespace}/{ref.name}"
    if collection is not None:
        name = f"{name}/collections/{_file_name(collection)}"
    if embedder.name == SharedMiniLM.name:
        return name  # where they have always stood
    # Vectors of two models never meet, nor those of one model at two lengths.
    return f"{name}/models/{_file_name(embedder.name)}@{embedder.dimension}"


def _file_name(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")


def _is_confined(record: ResourceRecord) -> bool:
    return record.managed_by == MANAGED_BY_API


def _declared(key: ResourceKey, record: ResourceRecord) -> Declared:
    """The pipeline as it is declared, neither opened nor found to be impossible by what it needs."""
    try:
        resource = stored_resource(key, record.spec_json, record.metadata_json, OWNERS[record.managed_by])
    except ValidationError as error:
        refusal = NotSupported(f"{key} was declared for another release: {error.error_count()} fields differ")
        return Declared(record.ref, None, None, refusal)
    assert isinstance(resource.spec, RAGPipelineSpec)
    return Declared(record.ref, resource.spec, None, _refusal(resource), _is_confined(record))


def _refusal(resource: Resource) -> PermanentError | None:
    missing = unsupported(resource)
    return NotSupported(f"{resource.key} cannot be served: {'; '.join(map(str, missing))}") if missing else None


def _check_dimensions(declared: Declared, spec: RAGPipelineSpec, embedder: ServedEmbedder) -> None:
    for name, dimension in (
        ("embeddings.dimension", spec.embeddings.dimension),
        ("vector_store.dimensions", spec.vector_store.dimensions),
    ):
        if dimension not in (None, embedder.dimension):
            made = f"{embedder.name} makes vectors of {embedder.dimension}"
            place = f"RAGPipeline {declared.ref.namespace}/{declared.ref.name}"
            raise InvalidInput(f"{place}: {name} is {dimension}, but {made}; write {embedder.dimension}")
