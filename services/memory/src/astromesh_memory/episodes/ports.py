"""What keeps episodes: the port of the two backends. Which of them a run gets to see is `recalling`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from astromesh_memory.runs.scopes import Among


class KeptEpisode(NamedTuple):
    """An episode as it lies in a backend."""

    namespace: str
    agent: str
    run_id: str
    session_key: str
    owner_key: str
    time_unix_nano: int
    version: bytes
    vector: bytes
    """Of the goal: float32, little-endian, of unit length."""
    episode: bytes
    """A serialised Episode."""


class EpisodeStore(Protocol):
    """A backend of episodes, of many agents. Calls may come from many tasks, and from several processes at once.

    Each raises Unavailable where the backend does not answer, with a message that holds no secret.
    """

    async def versions(self, namespace: str, agent: str) -> Mapping[str, bytes]:
        """Returns the version of each of the agent's episodes by its run."""
        ...

    async def put(self, episode: KeptEpisode) -> None:
        """Keeps an episode, in place of the one of that run."""
        ...

    async def remove(self, namespace: str, agent: str, run_ids: Sequence[str]) -> None:
        """Forgets episodes; those that are not kept are forgotten already."""
        ...

    async def last(
        self, namespace: str, agent: str, among: Among, limit: int, since_unix_nano: int = 0
    ) -> list[KeptEpisode]:
        """Returns the agent's newest episodes among those runs that are younger than a time, newest first."""
        ...

    async def those(self, namespace: str, agent: str, run_ids: Sequence[str]) -> list[KeptEpisode]:
        """Returns the episodes of these of the agent's runs, by run."""
        ...

    async def close(self) -> None:
        """Lets go of files and connections. Idempotent."""
        ...
