"""What an agent remembers, and where. Storing and recalling is the memory service's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.spelling import Spec, spelled
from astromesh_core.resources.stores import Connection, StoreName


class ConversationalMemory(Spec):
    """The turns of a session. A backend that is not installed falls back to SQLite unless `strict`."""

    backend: Literal["sqlite", "redis", "postgres"] = "sqlite"
    connection: Connection | None = None
    strategy: Literal["sliding_window", "summary", "token_budget"] = "sliding_window"
    max_turns: int = Field(default=50, ge=1, le=10_000, validation_alias=spelled("max_turns", "window_size"))
    """How many turns, a question with its answer each, are recalled."""
    ttl: int | None = Field(default=None, gt=0, validation_alias=spelled("ttl", "ttl_seconds"))
    strict: bool = False


class SemanticMemory(Spec):
    """Facts found again by meaning."""

    backend: StoreName
    collection: str | None = None
    embeddings: EmbeddingsSpec | None = Field(default=None, validation_alias=spelled("embeddings", "embedding"))
    dimension: int | None = Field(default=None, gt=0, validation_alias=spelled("dimension", "dimensions"))
    connection: Connection | None = None
    path: str | None = None
    similarity_threshold: float | None = Field(default=None, ge=0, le=1)
    max_results: int | None = Field(default=None, ge=1)


class EpisodicMemory(Spec):
    """What happened, in order of time."""

    backend: Literal["postgres", "sqlite"] = "postgres"
    connection: Connection | None = None


class MemorySpec(Spec):
    """The kinds of memory that an agent has; none unless declared."""

    conversational: ConversationalMemory | None = None
    semantic: SemanticMemory | None = None
    episodic: EpisodicMemory | None = None
