"""The vectors of a sidecar in memory, searched exactly or by a graph (HNSW), among all passages or among some.

A passage has a place: its row in the FAISS index. Places follow the passages' numbers, which grow. A passage that is
gone leaves a dead place behind, until the index is made anew of the living. Unit vectors: an inner product is a cosine.
A graph is followed by vectors of half the precision (bfloat16), which are half as much to read; what it leads to is
compared exactly.
Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW graphs", 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import faiss
import numpy as np

from astromesh_vectors.faiss_store.large_pages import advise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from astromesh_vectors.faiss_store.sidecar import Change
    from astromesh_vectors.ports import Vectors

    Places = NDArray[np.int64]

NEIGHBOURS: Final = 16
BUILD_WIDTH: Final = 100
SEARCH_WIDTH: Final = 64
"""How many candidates a search of the graph holds, at least. Measured in docs/vector-stores.md."""

WIDENING: Final = 0.4
"""How much wider a search gets where fewer are looked for: recall stays as without a filter, also where those that are
looked for lie apart from what is asked."""

COMPARED: Final = 2
"""How many of those that the graph leads to are compared exactly, for each that is looked for."""

EXACT_AMONG: Final = 4_000
"""Among so few passages each is looked at: that is faster than the graph, and exact."""

GROWN: Final = 1.25
"""How much an index has to grow for its memory to be looked after again: FAISS moves it as it grows."""

PLACE_BYTES: Final = 4
"""Of one neighbour in FAISS's graph."""

AT_A_TIME: Final = 1_000
"""Vectors put into a graph between two looks at whether it is still wanted."""


class Among:
    """Some of an index's places, ready to be searched among."""

    def __init__(self, places: Places, size: int) -> None:
        self.places = places
        mask = np.zeros(size, dtype=bool)
        mask[places] = True
        self._bits = np.packbits(mask, bitorder="little")
        self.selector = faiss.IDSelectorBitmap(self._bits)
        self.share = len(places) / size if size else 0.0
        self.settings: dict[int, faiss.SearchParameters] = {}
        """Of searches among them, by width."""


class Index:
    """The vectors of one generation of a sidecar. Used from one thread."""

    def __init__(self, dimension: int, generation: int = 0, *, graph: bool = False) -> None:
        self.generation = generation
        self.is_graph = graph
        self.dimension = dimension
        self._index = _empty(dimension, graph=graph)
        self._numbers: Places = np.empty(0, dtype=np.int64)
        self._alive: NDArray[np.bool_] = np.empty(0, dtype=bool)
        self.dead = 0
        """How many places nobody lives at."""
        self._living: Among | None = None
        self._rows: Vectors | None = None
        self._settings: dict[int, faiss.SearchParameters] = {}
        self._advised = 0
        """How many passages there were when the kernel was last told what is searched."""

    @classmethod
    def restored(cls, stored: faiss.Index, numbers: Places, generation: int) -> Index:
        """An index as it was stored."""
        index = cls(stored.d, generation)
        index._index, index.is_graph = stored, isinstance(stored, faiss.IndexRefineFlat)
        index._numbers, index._alive = numbers, np.ones(len(numbers), dtype=bool)
        index.take_large_pages()
        return index

    @property
    def size(self) -> int:
        """How many passages can be found."""
        return len(self._numbers) - self.dead

    @property
    def newest(self) -> int:
        """The number of the passage written last, 0 without one."""
        return int(self._numbers[-1]) if len(self._numbers) else 0

    @property
    def stored(self) -> tuple[faiss.Index, Places]:
        """What a file has to hold: dead places are told from the sidecar."""
        return self._index, self._numbers

    def apply(self, change: Change, vectors: Vectors) -> None:
        """Follows a change of the sidecar made at this index's generation."""
        if change.removed:
            self._alive[self.places_of(change.removed)] = False
            self.dead, self._living = int(np.count_nonzero(~self._alive)), None
        self.add(change.added, vectors)
        self.generation = change.after

    def add(self, numbers: Sequence[int], vectors: Vectors) -> None:
        """Adds passages, whose numbers are above those that are there, in order."""
        if len(numbers):
            self._index.add(vectors)
            self._rows = None
            self._numbers = np.concatenate([self._numbers, np.asarray(numbers, dtype=np.int64)])
            self._alive = np.concatenate([self._alive, np.ones(len(numbers), dtype=bool)])
            self._living = None
            if len(self._numbers) > GROWN * self._advised:
                self.take_large_pages()

    def keep(self, numbers: Places, generation: int) -> None:
        """Lets these live, and no others, as the sidecar has them at a generation."""
        self._alive = np.isin(self._numbers, numbers, assume_unique=True)
        self.dead, self._living = int(np.count_nonzero(~self._alive)), None
        self.generation = generation

    def places_of(self, numbers: Iterable[int]) -> Places:
        """The places of passages by their numbers; of numbers that are not here, none."""
        wanted = np.fromiter(numbers, dtype=np.int64)
        places = np.searchsorted(self._numbers, wanted)
        places[places == len(self._numbers)] = 0
        there = self._numbers[places] == wanted if len(self._numbers) else np.zeros(len(wanted), dtype=bool)
        return places[there]

    def among(self, numbers: Iterable[int]) -> Among:
        """The passages with these numbers, to be searched among; true until the next change."""
        places = self.places_of(numbers)
        return Among(np.sort(places[self._alive[places]]), len(self._numbers))

    def nearest(self, vector: Vectors, top_k: int, among: Among | None = None) -> list[tuple[float, int]]:
        """(cosine, passage number) of the `top_k` nearest, best first, equal ones by number."""
        if among is None and self.dead:
            among = self._living = self._living or Among(np.flatnonzero(self._alive), len(self._numbers))
        wanted = min(top_k, len(self._numbers) if among is None else len(among.places))
        if wanted == 0:
            return []
        query = vector.reshape(1, self.dimension)
        if among is None and len(self._numbers) <= EXACT_AMONG:
            scores, places = self._exactly(query, wanted, np.arange(len(self._numbers)))
        elif among is not None and len(among.places) <= EXACT_AMONG:
            scores, places = self._exactly(query, wanted, among.places)
        else:
            scores, places = self._searched(query, wanted, among)
        pairs = zip(scores.tolist(), self._numbers[places].tolist(), strict=True)
        # Rounding may leave [-1, 1] by a hair.
        found = [(max(-1.0, min(1.0, score)), number) for score, number in pairs]
        return sorted(found, key=lambda pair: (-pair[0], pair[1]))

    def living(self) -> tuple[Places, Vectors]:
        """Numbers and vectors of the living, copied."""
        return self._numbers[self._alive], self._vectors()[self._alive]

    def _searched(self, query: Vectors, wanted: int, among: Among | None) -> tuple[Vectors, Places]:
        width = max(SEARCH_WIDTH, 2 * wanted)
        kept = self._settings if among is None else among.settings
        if width not in kept:
            # To make them takes a tenth of a search.
            kept[width] = _settings(width, among) if self.is_graph else _settings_of_flat(among)
        scores, places = self._index.search(query, wanted, params=kept[width])
        there = places[0] >= 0
        if not there.all() or len(places[0]) < wanted:
            # The graph led to too few of them: look at each.
            assert among is not None or self.is_graph
            return self._exactly(query, wanted, np.flatnonzero(self._alive) if among is None else among.places)
        return scores[0], places[0]

    def _exactly(self, query: Vectors, wanted: int, places: Places) -> tuple[Vectors, Places]:
        scores = _products(np.ascontiguousarray(query), self._vectors(), places)
        if wanted < len(places):
            best = np.argpartition(-scores, wanted - 1)
            # Of equal ones at the edge, those written first.
            edge = scores[best[wanted - 1]]
            best = np.concatenate([np.flatnonzero(scores > edge), np.flatnonzero(scores == edge)])[:wanted]
            return scores[best], places[best]
        return scores, places

    def _vectors(self) -> Vectors:
        """All rows, as they stand in FAISS's memory: until the next change."""
        if self._rows is None:
            stored = self._index.refine_index if isinstance(self._index, faiss.IndexRefineFlat) else self._index
            flat = faiss.downcast_index(stored)
            assert isinstance(flat, faiss.IndexFlat)
            values = faiss.rev_swig_ptr(flat.get_xb(), len(self._numbers) * self.dimension)
            self._rows = values.reshape(-1, self.dimension)
        return self._rows

    def take_large_pages(self) -> None:
        """For what searches read."""
        self._advised = len(self._numbers)
        for address, size in self._read_by_searches():
            advise(address, size)

    def _read_by_searches(self) -> list[tuple[int, int]]:
        """Address and size."""
        rows = self._vectors()
        lie = [(rows.ctypes.data, rows.nbytes)]
        if isinstance(self._index, faiss.IndexRefineFlat):
            graph = faiss.downcast_index(self._index.base_index)
            assert isinstance(graph, faiss.IndexHNSWSQ)
            followed = faiss.downcast_index(graph.storage)
            assert isinstance(followed, faiss.IndexScalarQuantizer)
            neighbours = graph.hnsw.neighbors
            lie.append((int(followed.codes.data()), followed.codes.size()))
            lie.append((int(neighbours.data()), neighbours.size() * PLACE_BYTES))
        return lie


def _settings(width: int, among: Among | None) -> faiss.SearchParameters:
    # Of what the graph leads to, this share is among them: with a wider search there are enough.
    share = 1.0 if among is None else among.share
    width = round(width / max(share, 0.02) ** WIDENING)
    followed = faiss.SearchParametersHNSW(sel=None if among is None else among.selector, efSearch=width)
    return faiss.IndexRefineSearchParameters(k_factor=COMPARED, base_index_params=followed)


def _settings_of_flat(among: Among | None) -> faiss.SearchParameters:
    return faiss.SearchParameters(sel=None if among is None else among.selector)


def made_of(numbers: Places, vectors: Vectors, *, graph: bool, wanted: Callable[[], bool]) -> Index | None:
    """An index of these passages; None once it is no longer wanted. A graph takes 0.3 ms a passage."""
    index = Index(vectors.shape[1], graph=graph)
    for start in range(0, len(numbers), AT_A_TIME):
        if not wanted():
            return None
        index.add(numbers[start : start + AT_A_TIME].tolist(), vectors[start : start + AT_A_TIME])
    index.take_large_pages()
    return index


def _products(query: Vectors, rows: Vectors, places: Places) -> Vectors:
    """The inner product of the query, `(1, d)`, with each row at these places, where it lies.

    By FAISS, which uses this core alone: numpy would copy the rows and wake the other cores.
    """
    products, wanted = np.empty(len(places), dtype=np.float32), np.ascontiguousarray(places)
    first, second, third = faiss.swig_ptr(products), faiss.swig_ptr(query), faiss.swig_ptr(rows)
    faiss.fvec_inner_products_by_idx(first, second, third, faiss.swig_ptr(wanted), query.shape[1], 1, len(places))
    return products


def use_threads(threads: int) -> None:
    """How many cores the calling thread's searches may use (OpenMP keeps it per thread)."""
    faiss.omp_set_num_threads(threads)


def _empty(dimension: int, *, graph: bool) -> faiss.Index:
    if not graph:
        return faiss.IndexFlatIP(dimension)
    followed = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_bf16, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    followed.hnsw.efConstruction = BUILD_WIDTH
    return faiss.IndexRefineFlat(followed)
