"""A collection of Qdrant as `Points`: passages in one collection, manifests and marks in another without vectors.

Payloads: what filters compare stands in `facts` and `numbers`, the rest as it came. Ids are hashes of names.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from astromesh_core.errors import Unavailable
from astromesh_core.filters import Filter
from astromesh_core.resources.stores import Metric
from astromesh_vectors.point_store import records
from astromesh_vectors.point_store.points import Found, Manifest, Point, Purpose
from astromesh_vectors.point_store.records import KIND, MANIFEST, MARK, PURPOSE, Fields, PassageFields
from astromesh_vectors.point_store.tokens import numbers_of, tokens_of
from astromesh_vectors.qdrant_store.conditions import FACTS, NUMBERS, condition_of

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

PAGE: Final = 512
_NAMES: Final = uuid.UUID("5b1f6f0c-4f0a-4a34-8d5e-0f5a2f3c9a11")
_DISTANCES: Final[Mapping[Metric, models.Distance]] = {
    "cosine": models.Distance.COSINE,
    "ip": models.Distance.DOT,
    "l2": models.Distance.EUCLID,
}
_INDEXED: Final = ("generation", FACTS)
"""Payload that a server finds without looking at every point."""


class _Passage(PassageFields):
    """Of a passage, as it lies here."""

    headings: list[str]
    text: str


class QdrantPoints:
    """One collection, of a client that `connect` makes; it is closed with it."""

    failures: tuple[type[Exception], ...] = (ApiException, httpx.HTTPError)

    def __init__(
        self, connect: Callable[[], QdrantClient], collection: str, metric: Metric, *, shared: bool, exact: bool
    ) -> None:
        self._shared = shared
        self._connect = connect
        self._passages, self._documents = collection, records.documents_of(collection)
        self._metric: Metric = metric
        self._exact = exact
        self._client: QdrantClient | None = None

    def open(self, purpose: Purpose) -> Purpose:
        client = self._connected()
        size = models.VectorParams(size=purpose.dimension, distance=_DISTANCES[self._metric])
        self._make(client, self._passages, size)
        self._make(client, self._documents, {})
        self._metric = _metric_of(client.get_collection(self._passages)) or self._metric
        if self._shared:
            for field in _INDEXED:
                client.create_payload_index(self._passages, field, models.PayloadSchemaType.KEYWORD)
        for had in self._records(PURPOSE):
            return records.purpose_of(had)
        self._write(PURPOSE, "", records.of_purpose(purpose))
        return purpose

    def add(self, points: Sequence[Point]) -> None:
        self._connected().upsert(self._passages, [_struct(point) for point in points])

    def discard(self, generations: Collection[str]) -> None:
        chosen = models.FilterSelector(filter=models.Filter(must=[_of_generations(generations)]))
        self._connected().delete(self._passages, chosen)

    def of(self, generation: str) -> list[Point]:
        chosen = models.Filter(must=[_of_generations([generation])])
        return [_point(record) for record in self._scrolled(self._passages, chosen, vectors=True)]

    def nearest(self, vector: Vectors, limit: int, where: Filter | None, without: Collection[str]) -> list[Found]:
        found = self._connected().query_points(
            self._passages,
            query=vector.tolist(),
            limit=limit,
            query_filter=models.Filter(
                must=None if where is None else [condition_of(where)],
                must_not=[_of_generations(without)] if without else None,
            ),
            search_params=models.SearchParams(exact=True) if self._exact and self._shared else None,
            with_payload=True,
            with_vectors=True,
        )
        return [Found(_point(record), self._cosine(record.score)) for record in found.points]

    def manifests(self) -> list[Manifest]:
        return [records.manifest_of(fields) for fields in self._records(MANIFEST, without=["text"])]

    def manifest(self, document: str) -> Manifest | None:
        found = self._connected().retrieve(self._documents, [_id(MANIFEST, document)], with_payload=True)
        fields = found[0].payload if found else None
        return None if fields is None else records.manifest_of(fields, str(fields["text"]))

    def declare(self, manifest: Manifest) -> None:
        self._write(MANIFEST, manifest.document, {**records.of_manifest(manifest), "text": manifest.text})

    def withdraw(self, document: str) -> None:
        self._connected().delete(self._documents, models.PointIdsList(points=[_id(MANIFEST, document)]))

    def marks(self) -> dict[str, str]:
        return records.marks_of(self._records(MARK))

    def mark(self, writer: str, mark: str) -> None:
        self._write(MARK, writer, records.of_mark(writer, mark))

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> QdrantClient:
        if self._client is None:
            try:
                self._client = self._connect()
            except RuntimeError as error:
                # A folder that another process has open.
                raise Unavailable(f"{self._passages} cannot be opened: {error}") from error
        return self._client

    def _make(
        self, client: QdrantClient, name: str, vectors: models.VectorParams | dict[str, models.VectorParams]
    ) -> None:
        if client.collection_exists(name):
            return
        try:
            client.create_collection(name, vectors_config=vectors)
        except ApiException:
            # Another process was faster.
            if not client.collection_exists(name):
                raise

    def _write(self, kind: str, name: str, fields: Fields) -> None:
        point = models.PointStruct(id=_id(kind, name), vector={}, payload={KIND: kind, **fields})
        self._connected().upsert(self._documents, [point])

    def _records(self, kind: str, without: Sequence[str] = ()) -> list[Fields]:
        chosen = models.Filter(must=[models.FieldCondition(key=KIND, match=models.MatchValue(value=kind))])
        found = self._scrolled(self._documents, chosen, without=without)
        return [record.payload or {} for record in found]

    def _scrolled(
        self, collection: str, chosen: models.Filter, *, vectors: bool = False, without: Sequence[str] = ()
    ) -> Iterator[models.Record]:
        client, offset = self._connected(), None
        payload = models.PayloadSelectorExclude(exclude=list(without)) if without else True
        while True:
            page, offset = client.scroll(
                collection, scroll_filter=chosen, limit=PAGE, offset=offset, with_payload=payload, with_vectors=vectors
            )
            yield from page
            if offset is None:
                return

    def _cosine(self, score: float) -> float:
        """Qdrant tells inner products as they are, and Euclid's distance."""
        return records.cosine_of(score, self._metric) if self._metric == "l2" else score


def _metric_of(info: models.CollectionInfo) -> Metric | None:
    """The metric that a collection was made with: it stays, and means what any other does."""
    vectors = info.config.params.vectors
    distance = vectors.distance if isinstance(vectors, models.VectorParams) else None
    metrics: dict[models.Distance, Metric] = {distance: metric for metric, distance in _DISTANCES.items()}
    return None if distance is None else metrics.get(distance)


def _struct(point: Point) -> models.PointStruct:
    payload: dict[str, object] = {
        **records.of_passage(point),
        "headings": list(point.kept.headings),
        "text": point.kept.text,
        FACTS: tokens_of(point.metadata),
        NUMBERS: numbers_of(point.metadata),
    }
    return models.PointStruct(
        id=_id("passage", f"{point.generation}/{point.ordinal}"), vector=point.vector.tolist(), payload=payload
    )


def _point(record: models.Record | models.ScoredPoint) -> Point:
    fields = cast("_Passage", record.payload)
    return records.point_of(fields, fields["headings"], fields["text"], cast("list[float]", record.vector))


def _of_generations(generations: Collection[str]) -> models.FieldCondition:
    return models.FieldCondition(key="generation", match=models.MatchAny(any=sorted(generations)))


def _id(kind: str, name: str) -> str:
    return str(uuid.uuid5(_NAMES, f"{kind}/{name}"))
