"""Episodic memory of one agent: keeps what happened in its runs, and finds what bears on a question."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from astromesh.v1.episodes_pb2 import Episode
from astromesh_core.errors import NotFound
from astromesh_core.events.contents import plain
from astromesh_memory.episodes.ports import EpisodeStore, KeptEpisode
from astromesh_memory.episodes.ranking import ranked
from astromesh_memory.episodes.telling import episode_of
from astromesh_memory.runs.ledger import RunRow
from astromesh_memory.runs.reading import LoggedRun
from astromesh_memory.runs.scopes import Among

if TYPE_CHECKING:
    from astromesh_vectors.ports import Embedder, Vectors

FORMAT: Final = "1"
"""Of an episode: another one is told again from the log."""

NEWEST: Final = 2_000
"""Of a caller's episodes so many are compared with a question."""


class EpisodicMemory:
    """One agent's episodes in a store that it shares with other agents. A `Sink`; closing it leaves the store open."""

    def __init__(
        self,
        namespace: str,
        agent: str,
        store: EpisodeStore,
        embedder: Embedder,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._namespace = namespace
        self._agent = agent
        self._store = store
        self._embedder = embedder
        self._clock = clock

    def version(self, row: RunRow) -> bytes:
        """See Sink, as for the next four."""
        return hashlib.sha256(f"{FORMAT}\0{self._embedder.name}\0{row.ratings}".encode()).digest()

    async def versions(self) -> Mapping[str, bytes]:
        return await self._store.versions(self._namespace, self._agent)

    async def put(self, run: LoggedRun, *, afresh: bool = False) -> None:
        del afresh  # a put always replaces
        row = run.row
        try:
            episode = episode_of(run.events, run.feedback)
        except NotFound:
            return  # what was asked was erased
        vector = (await self._embedder.embed([plain(episode.goal)]))[0]
        kept = KeptEpisode(
            namespace=row.namespace,
            agent=row.agent,
            run_id=row.run_id,
            session_key=row.session_key,
            owner_key=row.owner_key,
            time_unix_nano=row.time_unix_nano,
            version=self.version(row),
            vector=vector.astype("<f4").tobytes(),
            episode=episode.SerializeToString(deterministic=True),
        )
        await self._store.put(kept)

    async def remove(self, run_ids: Sequence[str]) -> None:
        if run_ids:
            await self._store.remove(self._namespace, self._agent, run_ids)

    async def close(self) -> None:
        """Nothing is its own."""

    async def check(self) -> None:
        """Asks the store for what costs least. Raises Unavailable."""
        await self._store.last(self._namespace, self._agent, Among(session_key=""), 1)

    async def recall(
        self, query: str, among: Among, limit: int, threshold: float, since_unix_nano: int = 0
    ) -> list[Episode]:
        """The episodes that bear on a question, best first, with their scores."""
        kept = await self._store.last(self._namespace, self._agent, among, NEWEST, since_unix_nano)
        kept = [one for one in kept if len(one.vector) == 4 * self._embedder.dimension]
        if not kept:
            return []
        now, vector = self._clock(), (await self._embedder.embed([query]))[0]
        ages = [(now - one.time_unix_nano) / 1e9 for one in kept]
        best = ranked(vector, _matrix(kept), ages, threshold, limit)
        return [_scored(kept[index], score) for index, score in best]

    async def those(self, run_ids: Sequence[str]) -> list[Episode]:
        """What is remembered of these runs, by run."""
        kept = await self._store.those(self._namespace, self._agent, run_ids)
        return [_scored(one, 0.0) for one in kept]


def _matrix(kept: Sequence[KeptEpisode]) -> Vectors:
    import numpy as np

    return np.frombuffer(b"".join(one.vector for one in kept), dtype="<f4").reshape(len(kept), -1)


def _scored(kept: KeptEpisode, score: float) -> Episode:
    episode = Episode.FromString(kept.episode)
    episode.score = score
    return episode
