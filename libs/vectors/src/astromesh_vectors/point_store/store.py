"""A `VectorStore` on any database of points: Qdrant, Chroma.

A document's passages are written under a generation of their own; then its manifest is, which is one point: from that
moment on it is the new passages that are shown. The old ones are deleted once nobody reads them. A writer leaves a mark
with every change, so that other processes notice; whoever reads while a mark changes reads again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Final, TypeVar

from astromesh_core.errors import Conflict, InvalidInput, NotFound, Unavailable
from astromesh_core.filters import Filter, Metadata, MetadataValue, is_met
from astromesh_vectors.passages import checked, passage_of
from astromesh_vectors.point_store.generations import Generations, View, new_generation, written_at
from astromesh_vectors.point_store.points import Found, Manifest, Point, Points, Purpose
from astromesh_vectors.point_store.written import written
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage
    from astromesh_vectors.passages import Checked
    from astromesh_vectors.point_store.words import WordCache
    from astromesh_vectors.ports import Vectors

T = TypeVar("T")

AT_A_TIME: Final = 500
"""Points written with one call."""

ATTEMPTS: Final = 50
"""Reads that were overtaken by other processes' changes before a reader gives up."""

SHARED_THREADS: Final = 4
"""Requests to a server at once; a folder is read and written by one thread."""

RETRY_SECONDS: Final = 2.0


class PointStore:
    """One collection. `connect` is called by the first call, in a thread; `folder` is for a copy of the words.

    `shared` says that other processes may write to it.
    """

    def __init__(
        self, connect: Callable[[], Points], purpose: Purpose, folder: Path, *, name: str, shared: bool
    ) -> None:
        self.dimension = purpose.dimension
        self._connect = connect
        self._connected: Points | None = None
        self._purpose = purpose
        self._folder = folder
        self._name = name
        self._shared = shared
        self._worker = WorkerThread("points", SHARED_THREADS if shared else 1)
        self._generations = Generations()
        self._marks: dict[str, str] | None = None
        """None: nothing is known of what is stored."""
        self._writer = uuid.uuid4().hex
        self._unmarked = False
        self._loading = asyncio.Lock()
        self._loads = 0
        """How many have begun."""
        self._writing = asyncio.Lock()
        self._words: WordCache | None = None
        self._changes: set[asyncio.Task[bool]] = set()
        self._last = 0
        self._closed = False

    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: Vectors,
        metadata: Metadata | None = None,
        text: str = "",
    ) -> bool:
        kept = list(passages)
        content = checked(document, kept, vectors, metadata, self.dimension)
        return await self._change(self._put(document, sha256, kept, content, text))

    async def remove(self, document: str) -> bool:
        return await self._change(self._remove(document))

    async def documents(self, where: Filter | None = None) -> dict[str, bytes]:
        await self._follow()
        manifests = self._generations.documents
        return {name: manifests[name].sha256 for name in sorted(manifests) if _meets(manifests[name], where)}

    async def metadata(self, document: str) -> dict[str, MetadataValue]:
        return json.loads((await self._manifest(document)).metadata)

    async def text(self, document: str) -> str:
        return (await self._manifest(document)).text

    async def passages(self, document: str) -> list[Match]:
        await self._follow()
        with self._generations.reading() as view:
            manifest = view.documents.get(document)
            if manifest is None:
                raise _not_found(document)
            points = await self._call(lambda: self._points.of(manifest.generation))
        return [_match(Found(point, 0.0)) for point in sorted(points, key=lambda point: point.ordinal)]

    async def count(self) -> int:
        await self._follow()
        return sum(manifest.count for manifest in self._generations.documents.values())

    async def search(
        self,
        vector: Vectors | None,
        words: str,
        limit: int,
        where: Filter | None = None,
        min_score: float = -1.0,
    ) -> Matches:
        from astromesh_vectors.unit import unit_row

        if limit < 1:
            raise InvalidInput(f"the limit is {limit}; it must be at least 1")
        query = None if vector is None else unit_row(vector, self.dimension)
        await self._follow(known=True)
        for _ in range(ATTEMPTS):
            with self._generations.reading() as view:
                worded = await self._worded(view, words, limit, where) if words else []
                found = [] if query is None else await self._near(view, query, limit, where)
                near = [_match(each) for each in _ordered(found) if each.score >= min_score]
            if await self._is_up_to_date():
                return Matches(near, worded)
            await self._load()
        raise Unavailable(f"{self._name} changes faster than it can be read", retry_after=RETRY_SECONDS)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._changes:
            await asyncio.wait(self._changes)
        await self._worker.call(self._close)
        await self._worker.close()

    async def _change(self, work: Coroutine[object, object, bool]) -> bool:
        """A change that has begun ends, whatever becomes of the caller: half of it would be nothing."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _put(self, document: str, sha256: bytes, passages: list[Passage], content: Checked, text: str) -> bool:
        async with self._writing:
            before = await self._before(document)
            if before is not None and before.sha256 == sha256:
                return False
            generation = self._new_generation()
            points, manifest = written(document, sha256, generation, passages, content)
            self._generations.hide([generation])
            try:
                await self._write(points)
                await self._call(lambda: self._points.declare(replace(manifest, text=text)))
            except BaseException:
                # It may have been declared all the same: what is stored is looked at before the next call.
                self._generations.doubt(generation)
                self._marks = None
                raise
            await self._settle(document, before, manifest)
            return True

    async def _remove(self, document: str) -> bool:
        async with self._writing:
            before = await self._before(document)
            if before is None:
                return False
            await self._call(lambda: self._points.withdraw(document))
            await self._settle(document, before, None)
            return True

    async def _before(self, document: str) -> Manifest | None:
        await self._follow()
        if self._unmarked:
            await self._mark()
        return self._generations.documents.get(document)

    async def _write(self, points: Sequence[Point]) -> None:
        for start in range(0, len(points), AT_A_TIME):
            await self._call(lambda start=start: self._points.add(points[start : start + AT_A_TIME]))

    async def _settle(self, document: str, before: Manifest | None, manifest: Manifest | None) -> None:
        """Shows the change here, marks it for others, and deletes what nobody sees any more."""
        self._generations.show(document, manifest, before)
        await self._mark()
        discardable = self._generations.discardable()
        if discardable:
            await self._call(lambda: self._points.discard(discardable))
            self._generations.discarded(discardable)

    async def _mark(self) -> None:
        if not self._shared:
            return
        self._unmarked = True
        mark = f"{time_ns():020d}-{uuid.uuid4().hex}"
        await self._call(lambda: self._points.mark(self._writer, mark))
        self._unmarked = False
        if self._marks is not None:
            self._marks[self._writer] = mark

    async def _near(self, view: View, query: Vectors, limit: int, where: Filter | None) -> list[Found]:
        if not view.documents:
            return []
        without = view.hidden
        while True:
            look = partial(self._points.nearest, query, limit, where, without)
            found = await self._call(look)
            unseen = [each.point for each in found if not view.shows(each.point.document, each.point.generation)]
            if not unseen:
                return found
            without |= {point.generation for point in unseen}
            self._generations.stray((point.document, point.generation) for point in unseen)

    async def _worded(self, view: View, words: str, limit: int, where: Filter | None) -> list[Match]:
        from astromesh_vectors.point_store.words import WordCache

        cache = self._words = self._words or WordCache(self._folder, self._purpose)
        return await self._call(lambda: cache.best(view, self._points.of, words, limit, where))

    async def _manifest(self, document: str) -> Manifest:
        await self._follow(known=True)
        manifest = await self._call(lambda: self._points.manifest(document))
        if manifest is None:
            raise _not_found(document)
        return manifest

    async def _follow(self, *, known: bool = False) -> None:
        """Knows what is stored: what other processes have changed as well, unless `known` is enough."""
        self._check_open()
        if self._marks is None or not (known or await self._is_up_to_date()):
            await self._load()

    async def _is_up_to_date(self) -> bool:
        return self._marks is not None and (not self._shared or await self._call(self._points.marks) == self._marks)

    async def _load(self) -> None:
        asked = self._loads
        async with self._loading:
            if self._loads > asked and self._marks is not None:
                return  # begun after it was asked for, by somebody else
            self._loads += 1
            marks, manifests = await self._call(self._loaded)
            self._generations.replace(manifests)
            self._marks = marks

    @property
    def _points(self) -> Points:
        assert self._connected is not None, "what is stored is known before it is asked for"
        return self._connected

    def _loaded(self) -> tuple[dict[str, str], list[Manifest]]:
        if self._connected is None:
            self._connected = self._connect()
        had = self._points.open(self._purpose)
        if had != self._purpose:
            raise Conflict(
                f"{self._name} holds vectors of {had.model} with {had.dimension} dimensions, asked for are "
                f"{self._purpose.model} with {self._purpose.dimension}; use another collection, or remove it and "
                "ingest anew"
            )
        # Marks first: what changes in between is noticed by them.
        marks = dict(self._points.marks()) if self._shared else {}
        return marks, self._points.manifests()

    async def _call(self, work: Callable[[], T]) -> T:
        self._check_open()
        try:
            return await self._worker.call(work)
        except (*self._failures(), sqlite3.Error, OSError) as error:
            self._marks = None
            said = " ".join(str(error).split())[:300] or type(error).__name__
            message = f"{self._name} cannot be used: {said}"
            raise Unavailable(message, retry_after=RETRY_SECONDS) from error

    def _failures(self) -> tuple[type[Exception], ...]:
        return () if self._connected is None else self._connected.failures

    def _check_open(self) -> None:
        # A change that had begun ends all the same.
        if self._closed and asyncio.current_task() not in self._changes:
            raise Unavailable(f"{self._name} is closed")

    def _new_generation(self) -> str:
        generation = new_generation(self._last)
        self._last = written_at(generation)
        return generation

    def _close(self) -> None:
        if self._words is not None:
            self._words.close()
        if self._connected is not None:
            self._connected.close()


def _ordered(found: Sequence[Found]) -> list[Found]:
    """Best first, equal ones in the order of writing: generations stand in it by their names."""
    return sorted(found, key=lambda each: (-round(each.score, 6), each.point.generation, each.point.ordinal))


def _match(found: Found) -> Match:
    point = found.point
    passage = passage_of(point.document, point.ordinal, point.kept)
    passage.score = max(-1.0, min(1.0, found.score))
    return Match(passage, point.vector)


def _meets(manifest: Manifest, where: Filter | None) -> bool:
    return where is None or is_met(where, json.loads(manifest.metadata))


def _not_found(document: str) -> NotFound:
    return NotFound(f"document {document!r} is not in this collection")
