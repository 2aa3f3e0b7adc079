"""When a FAISS index is made anew, with a graph or without its dead places, and the thread in which that happens."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from astromesh_core.resources.stores import IndexKind

if TYPE_CHECKING:
    from astromesh_vectors.faiss_store.index import Index, Places
    from astromesh_vectors.ports import Vectors

GRAPH_FROM: Final = 20_000
"""From so many passages on, `auto` has a graph: each looked at takes some 3 ms."""

GRAPH_AT_LEAST: Final = 1_000
"""A graph of fewer is slower than a look at each."""

MOST_DEAD: Final = 0.25
"""The share of dead places from which an index is made anew."""

DEAD_AT_LEAST: Final = 1_000


def has_graph(kind: IndexKind, size: int) -> bool:
    """Whether an index of so many passages is to have a graph."""
    return kind != "flat" and size >= (GRAPH_FROM if kind == "auto" else GRAPH_AT_LEAST)


def is_due(kind: IndexKind, index: Index) -> bool:
    """Whether the index is to be made anew. A graph that has shrunk stays one until it is."""
    if index.dead >= max(DEAD_AT_LEAST, MOST_DEAD * (index.size + index.dead)):
        return True
    return not index.is_graph and has_graph(kind, index.size)


class Remaking:
    """Makes one index anew at a time, in a thread of its own, while the old one is searched."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="faiss-remaking")
        self._made: Future[Index | None] | None = None
        self._stopped = False

    def begin(self, kind: IndexKind, index: Index) -> None:
        """Begins, unless it has begun already. The rows are copied first: the index may change at once."""
        if self._made is None and not self._stopped:
            numbers, vectors = index.living()
            graph = has_graph(kind, len(numbers))
            self._made = self._pool.submit(lambda: self._make(numbers, vectors, graph=graph))

    @property
    def is_busy(self) -> bool:
        """Whether an index is being made, or waits to be taken."""
        return self._made is not None

    def take(self) -> Index | None:
        """The index that was made, once; None while there is none. It shows the generation at which it was begun."""
        if self._made is None or not self._made.done():
            return None
        made, self._made = self._made.result(), None
        return made

    def close(self) -> None:
        """Drops what is being made. Blocks for some tenths of a second."""
        self._stopped = True
        self._pool.shutdown()

    def _make(self, numbers: Places, vectors: Vectors, *, graph: bool) -> Index | None:
        from astromesh_vectors.faiss_store import index

        index.use_threads(self._threads)
        return index.made_of(numbers, vectors, graph=graph, wanted=lambda: not self._stopped)
