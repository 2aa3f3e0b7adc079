"""Semantic memory of one agent: keeps what was said in its runs in a vector store, and finds it again by meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from astromesh.v1.values_pb2 import Passage
from astromesh_core.filters import Equals, Every, Within
from astromesh_memory.runs.ledger import RunRow
from astromesh_memory.runs.reading import LoggedRun
from astromesh_memory.runs.scopes import Among
from astromesh_memory.semantic.turns import FORMAT, pieces_of

if TYPE_CHECKING:
    from astromesh_vectors.ports import Embedder, VectorStore

MOST_KNOWN: Final = 200
"""Of what the caller has already, so much at most is asked for beyond the limit, to be left out."""

PIECES_OF_A_RUN: Final = 3
"""So many are asked for where one of each is wanted: a run has two at least."""


class Embedders(NamedTuple):
    """Of one model: what makes vectors of questions, and of the pieces that they find."""

    queries: Embedder
    passages: Embedder


class SemanticMemory:
    """One agent's turns in a vector store that other agents may share. A `Sink`."""

    def __init__(
        self, agent: str, store: VectorStore, embedders: Embedders, leave: Callable[[], Awaitable[None]]
    ) -> None:
        """`agent` names the agent among all that may keep something in the store: mesh, namespace and name. `leave` is
        called once, when the store is needed no more."""
        self._leave: Callable[[], Awaitable[None]] | None = leave
        self._agent = agent
        self._store = store
        self._embedders = embedders

    def version(self, row: RunRow) -> bytes:
        """See Sink, as for the next four."""
        del row  # what was said never changes
        return hashlib.sha256(f"{FORMAT}\0{self._embedders.passages.name}".encode()).digest()

    async def versions(self) -> Mapping[str, bytes]:
        kept = await self._store.documents(Equals("agent", self._agent))
        return {document.rpartition("/")[2]: version for document, version in kept.items()}

    async def put(self, run: LoggedRun, *, afresh: bool = False) -> None:
        row = run.row
        pieces = pieces_of(run.events, row.turn_index)
        if not pieces:
            return
        passages = [piece.passage for piece in pieces]
        vectors = await self._embedders.passages.embed([piece.meaning for piece in pieces])
        metadata = {
            "agent": self._agent,
            "session": row.session_key,
            "owner": row.owner_key,
            "time": row.time_unix_nano // 1_000_000_000,
        }
        document, version = self._document(row.run_id), self.version(row)
        if not await self._store.put(document, version, passages, vectors, metadata) and afresh:
            # It stands there in this version, and whoever puts it afresh does not trust what stands there. Replaced by
            # way of another version it is never missing.
            other = hashlib.sha256(b"afresh" + version).digest()
            await self._store.put(document, other, passages, vectors, metadata)
            await self._store.put(document, version, passages, vectors, metadata)

    async def remove(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            await self._store.remove(self._document(run_id))

    async def close(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            await leave()

    async def check(self) -> None:
        """Asks the store for what costs least. Raises Unavailable."""
        await self._store.documents(Equals("agent", ""))

    async def recall(
        self,
        query: str,
        among: Among,
        limit: int,
        threshold: float,
        *,
        since_seconds: int = 0,
        known: Collection[str] = (),
    ) -> list[Passage]:
        """The pieces nearest to a question, best first, one of each run that is not known already."""
        conditions = [Equals("agent", self._agent), among.condition]
        young = [Within("time", above=since_seconds)] if since_seconds else []
        vector = (await self._embedders.queries.embed([query]))[0]
        asked = PIECES_OF_A_RUN * (limit + min(len(known), MOST_KNOWN))
        where = Every((*conditions, *young))
        found = (await self._store.search(vector, "", asked, where, min_score=threshold)).by_vector
        best = dict[str, Passage]()
        for match in found:
            best.setdefault(run_of(match.passage), match.passage)
        return [passage for run_id, passage in best.items() if run_id not in known][:limit]

    async def those(self, run_ids: Sequence[str]) -> list[Passage]:
        """The pieces that are kept of these runs, run by run."""
        kept = await self.versions()
        found = list[Passage]()
        for run_id in run_ids:
            if run_id in kept:
                found += [match.passage for match in await self._store.passages(self._document(run_id))]
        return found

    def _document(self, run_id: str) -> str:
        return f"{self._agent}/{run_id}"


def told(passage: Passage) -> Passage:
    """A piece as others see it: `id` is the event that it comes from, `source` the run."""
    seen = Passage()
    seen.CopyFrom(passage)
    seen.id, seen.source = passage.source, run_of(passage)
    seen.ClearField("metadata_json")
    return seen


def run_of(passage: Passage) -> str:
    """The run that a piece comes from."""
    return passage.source.rpartition(":")[0]
