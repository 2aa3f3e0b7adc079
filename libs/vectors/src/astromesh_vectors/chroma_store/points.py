"""A collection of Chroma as `Points`: passages in one collection, manifests and marks in another with vectors of one
number, since Chroma keeps nothing without a vector.

Metadata: a passage's own stands under `m:` and its key, the rest as it came; lists are JSON text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypedDict, cast

import httpx
import numpy as np
import stamina
from chromadb.api.collection_configuration import CreateCollectionConfiguration, CreateHNSWConfiguration
from chromadb.errors import ChromaError

from astromesh_core.errors import Unavailable
from astromesh_core.filters import Filter
from astromesh_vectors.chroma_store.conditions import (
    KEYS,
    Condition,
    compared,
    condition_of,
    keys_of,
    name_of,
    where_of,
)
from astromesh_vectors.point_store import records
from astromesh_vectors.point_store.points import Found, Manifest, Point, Purpose
from astromesh_vectors.point_store.records import KIND, MANIFEST, MARK, PURPOSE

if TYPE_CHECKING:
    from chromadb import Collection as ChromaCollection
    from chromadb.api import ClientAPI
    from chromadb.api.types import Metadata as ChromaMetadata
    from chromadb.api.types import QueryResult, Where

    from astromesh_core.resources.stores import Metric
    from astromesh_vectors.ports import Vectors

PAGE: Final = 1_000
UNBORN_ATTEMPTS: Final = 4
_NO_VECTOR: Final = [1.0]


class _Graph(TypedDict, total=False):
    """Of a collection: how its vectors are compared."""

    space: Metric


class _Configuration(TypedDict, total=False):
    """Of a collection, as Chroma stores it."""

    hnsw: _Graph | None


def _is_unborn(error: Exception) -> bool:
    """Whether a server has just got the first points of a collection: asked in that moment, it misses its index."""
    return isinstance(error, ChromaError) and "Nothing found on disk" in str(error)


class ChromaPoints:
    """One collection, of a client that `connect` makes and `release` ends."""

    failures: tuple[type[Exception], ...] = (ChromaError, httpx.HTTPError)

    def __init__(
        self,
        connect: Callable[[], ClientAPI],
        collection: str,
        metric: Metric,
        release: Callable[[ClientAPI], None],
    ) -> None:
        self._connect, self._release = connect, release
        self._collection = collection
        self._metric: Metric = metric
        self._client: ClientAPI | None = None
        self._opened: tuple[ChromaCollection, ChromaCollection] | None = None

    def open(self, purpose: Purpose) -> Purpose:
        client = self._connected()
        passages = client.get_or_create_collection(
            self._collection,
            configuration=CreateCollectionConfiguration(hnsw=CreateHNSWConfiguration(space=self._metric)),
            embedding_function=None,
        )
        documents = client.get_or_create_collection(records.documents_of(self._collection), embedding_function=None)
        # The one that the collection was made with stays, and means what any other does.
        stored = cast("_Configuration", passages.configuration_json)
        self._metric = (stored.get("hnsw") or {}).get("space", self._metric)
        self._opened = passages, documents
        found = documents.get(ids=[PURPOSE], include=["metadatas"])["metadatas"]
        if found:
            return records.purpose_of(found[0])
        self._write(PURPOSE, PURPOSE, records.of_purpose(purpose))
        return purpose

    def add(self, points: Sequence[Point]) -> None:
        self._passages.upsert(
            ids=[f"{point.generation}/{point.ordinal}" for point in points],
            embeddings=np.stack([point.vector for point in points]),
            metadatas=[_stored(point) for point in points],
            documents=[point.kept.text for point in points],
        )

    def discard(self, generations: Collection[str]) -> None:
        self._passages.delete(where=where_of([{"generation": {"$in": sorted(generations)}}]))

    def of(self, generation: str) -> list[Point]:
        points: list[Point] = []
        while True:
            page = self._passages.get(
                where={"generation": generation},
                limit=PAGE,
                offset=len(points),
                include=["metadatas", "documents", "embeddings"],
            )
            read = _points(page["metadatas"], page["documents"], page["embeddings"])
            points += read
            if len(read) < PAGE:
                return points

    def nearest(self, vector: Vectors, limit: int, where: Filter | None, without: Collection[str]) -> list[Found]:
        conditions: list[Condition] = [] if where is None else [condition_of(where)]
        if without:
            conditions.append({"generation": {"$nin": sorted(without)}})
        found = self._queried(vector, limit, where_of(conditions))
        metadatas, documents, embeddings = found["metadatas"], found["documents"], found["embeddings"]
        distances = found["distances"]
        assert metadatas is not None
        assert documents is not None
        assert embeddings is not None
        assert distances is not None
        points = _points(metadatas[0], documents[0], embeddings[0])
        # Chroma's "l2" is the square of the distance.
        cosines = (records.cosine_of(distance, self._metric, squared=True) for distance in distances[0])
        return [Found(*each) for each in zip(points, cosines, strict=True)]

    @stamina.retry(on=_is_unborn, attempts=UNBORN_ATTEMPTS, wait_initial=0.05, wait_max=0.2)
    def _queried(self, vector: Vectors, limit: int, where: Where | None) -> QueryResult:
        return self._passages.query(
            query_embeddings=vector.reshape(1, -1),
            n_results=limit,
            where=where,
            include=["metadatas", "documents", "embeddings", "distances"],
        )

    def manifests(self) -> list[Manifest]:
        found: list[Manifest] = []
        while True:
            page = self._documents.get(where={KIND: MANIFEST}, limit=PAGE, offset=len(found), include=["metadatas"])[
                "metadatas"
            ]
            found += map(records.manifest_of, page or [])
            if len(page or []) < PAGE:
                return found

    def manifest(self, document: str) -> Manifest | None:
        found = self._documents.get(ids=[_id(document)], include=["metadatas", "documents"])
        metadatas, texts = found["metadatas"], found["documents"]
        return records.manifest_of(metadatas[0], texts[0] or "") if metadatas and texts else None

    def declare(self, manifest: Manifest) -> None:
        fields = cast("Mapping[str, str | int]", records.of_manifest(manifest))
        self._write(_id(manifest.document), MANIFEST, fields, manifest.text)

    def withdraw(self, document: str) -> None:
        self._documents.delete(ids=[_id(document)])

    def marks(self) -> dict[str, str]:
        found = self._documents.get(where={KIND: MARK}, include=["metadatas"])["metadatas"]
        return records.marks_of(found or [])

    def mark(self, writer: str, mark: str) -> None:
        self._write(f"mark/{writer}", MARK, records.of_mark(writer, mark))

    def close(self) -> None:
        self._opened = None
        client, self._client = self._client, None
        if client is not None:
            self._release(client)

    @property
    def _passages(self) -> ChromaCollection:
        assert self._opened is not None, "the store opens before it asks"
        return self._opened[0]

    @property
    def _documents(self) -> ChromaCollection:
        assert self._opened is not None, "the store opens before it asks"
        return self._opened[1]

    def _connected(self) -> ClientAPI:
        if self._client is None:
            try:
                self._client = self._connect()
            except ValueError as error:
                # That is what its client raises where no server answers.
                raise Unavailable(f"the collection {self._collection} cannot be reached: {error}") from error
        return self._client

    def _write(self, name: str, kind: str, fields: Mapping[str, str | int], text: str = "") -> None:
        metadata = {KIND: kind, **fields}
        self._documents.upsert(ids=[name], embeddings=[_NO_VECTOR], metadatas=[metadata], documents=[text])


def _stored(point: Point) -> ChromaMetadata:
    stored: dict[str, object] = {**records.of_passage(point)}
    stored["headings"] = json.dumps(point.kept.headings, ensure_ascii=False)
    if point.metadata:
        stored[KEYS] = keys_of(point.metadata.items())
    stored.update((name_of(key), compared(value)) for key, value in point.metadata.items())
    return cast("ChromaMetadata", stored)


def _points(metadatas: Sequence[ChromaMetadata] | None, texts: Sequence[str] | None, vectors: object) -> list[Point]:
    if not metadatas or texts is None:
        return []
    rows = np.asarray(vectors, dtype="<f4")
    return [
        records.point_of(metadata, json.loads(str(metadata["headings"])), text or "", row)
        for metadata, text, row in zip(metadatas, texts, rows, strict=True)
    ]


def _id(document: str) -> str:
    """Of any text: a document's id may be long or hold anything."""
    return f"document/{hashlib.sha256(document.encode()).hexdigest()}"
