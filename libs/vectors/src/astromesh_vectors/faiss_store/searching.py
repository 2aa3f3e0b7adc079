"""One opened collection: the sidecar, the index that follows it, and what filters were found to let through. Blocks;
used from one thread."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from astromesh_core.errors import InvalidInput
from astromesh_core.filters import Filter
from astromesh_core.resources.stores import IndexKind
from astromesh_vectors.faiss_store import index_file
from astromesh_vectors.faiss_store.index import Among, Index, use_threads
from astromesh_vectors.faiss_store.remaking import Remaking, is_due
from astromesh_vectors.faiss_store.sidecar import Change, PassageRow, Row, Sidecar, read
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.unit import unit_row, unit_rows

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage
    from astromesh_vectors.passages import Checked
    from astromesh_vectors.ports import Vectors

MOST_FILTERS: Final = 32
"""Of which it is kept what they let through, until the next change: 8 bytes a passage."""

SAVE_AFTER: Final = 10_000
"""Passages added since the file was written after which it is written again: what a kill leaves to be done anew."""


class OpenCollection:
    """Finds and changes. `close` it."""

    def __init__(self, folder: Path, sidecar: Sidecar, dimension: int, kind: IndexKind, threads: int) -> None:
        self.sidecar = sidecar
        self._folder = folder
        self._dimension = dimension
        self._kind: IndexKind = kind
        self._threads = threads
        self.index: Index | None = None
        """None until it is needed."""
        self._saved = 0
        self._remaking = Remaking(threads)
        self._counted: tuple[int, int] | None = None
        """A generation, and how many passages it has."""
        self._among: OrderedDict[str, Among] = OrderedDict()

    def put(self, document: str, sha256: bytes, passages: list[Passage], content: Checked, text: str) -> bool:
        """See `VectorStore.put`."""
        vectors = (row.tobytes() for row in content.units)
        rows = (Row(*each) for each in zip(passages, content.each, vectors, strict=True))
        return self._follow(self.sidecar.put(document, sha256, content.metadata, text, rows), content.units)

    def remove(self, document: str) -> bool:
        """See `VectorStore.remove`."""
        return self._follow(self.sidecar.remove(document), unit_rows([], self._dimension))

    def count(self) -> int:
        """See `VectorStore.count`. Counted once a generation: whoever queries asks whether there is anything."""
        with self.sidecar.snapshot():
            generation = self.sidecar.generation()
            if self._counted is None or self._counted[0] != generation:
                self._counted = generation, self.sidecar.count()
        return self._counted[1]

    def passages(self, document: str) -> list[Match]:
        """See `VectorStore.passages`."""
        with self.sidecar.snapshot():
            numbers = self.sidecar.numbers_of(document)
            rows = self.sidecar.rows(numbers)
        return [_match(rows[number], 0.0) for number in numbers]

    def search(self, vector: Vectors | None, words: str, limit: int, where: Filter | None, min_score: float) -> Matches:
        """See `VectorStore.search`."""
        if limit < 1:
            raise InvalidInput(f"the limit is {limit}; it must be at least 1")
        query = None if vector is None else unit_row(vector, self._dimension)
        with self.sidecar.snapshot():
            nearest = [] if query is None else self._nearest(query, limit, where)
            near = [(score, number) for score, number in nearest if score >= min_score]
            worded = self.sidecar.with_words(words, limit, where) if words else []
            rows = self.sidecar.rows(list({number for _, number in near}.union(worded)))
        return Matches(
            [_match(rows[number], score) for score, number in near],
            [_match(rows[number], 0.0) for number in worded],
        )

    def is_settled(self) -> bool:
        """Whether the index is as it is to be: with its graph, without dead places."""
        with self.sidecar.snapshot():
            self._fresh()
        return not self._remaking.is_busy

    def close(self) -> None:
        """Writes the index's file and closes."""
        self._remaking.close()
        try:
            if self.index is not None:
                index_file.save(self._folder, self.sidecar.identity, self.index)
        finally:
            self.sidecar.close()

    def _follow(self, change: Change | None, units: Vectors) -> bool:
        if change is None:
            return False
        if self.index is not None and self.index.generation == change.before:
            self.index.apply(change, units)
            self._among.clear()
            self._look_after(self.index)
        return True

    def _nearest(self, query: Vectors, limit: int, where: Filter | None) -> list[tuple[float, int]]:
        index = self._fresh()
        return index.nearest(query, limit, None if where is None else self._let_through(index, where))

    def _let_through(self, index: Index, where: Filter) -> Among:
        key = repr(where)
        among = self._among.get(key)
        if among is None:
            among = self._among[key] = index.among(_each(self.sidecar.numbers_where(where)))
            if len(self._among) > MOST_FILTERS:
                self._among.popitem(last=False)
        else:
            self._among.move_to_end(key)
        return among

    def _fresh(self) -> Index:
        """The index of what the sidecar shows, loaded at first, and caught up after a change by somebody else."""
        if self.index is None:
            use_threads(self._threads)
            self.index = index_file.load(self._folder, self.sidecar, self._dimension)
            self._saved = self.index.newest
        made = self._remaking.take()
        if made is not None:
            self.index = made
        if made is not None or self.index.generation != self.sidecar.generation():
            index_file.catch_up(self.index, self.sidecar)
            self._among.clear()
        if made is not None:
            self._save(self.index)
        self._look_after(self.index)
        return self.index

    def _look_after(self, index: Index) -> None:
        if index.newest - self._saved >= SAVE_AFTER:
            self._save(index)
        if is_due(self._kind, index):
            self._remaking.begin(self._kind, index)

    def _save(self, index: Index) -> None:
        index_file.save(self._folder, self.sidecar.identity, index)
        self._saved = index.newest


def _each(rows: Iterable[tuple[int]]) -> Iterable[int]:
    return (number for (number,) in rows)


def _match(row: PassageRow, score: float) -> Match:
    passage, vector = read(row)
    passage.score = score
    return Match(passage, np.frombuffer(vector, dtype="<f4"))
