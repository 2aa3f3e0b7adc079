"""What agents declare of semantic and episodic memory, and where it lies by that. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple, TypeAlias

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_memory import EpisodicMemory, SemanticMemory
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.extras import POSTGRES
from astromesh_memory.runs.changes import Kind
from astromesh_vectors.opening import Collection

Declared: TypeAlias = SemanticMemory | EpisodicMemory

SEMANTIC_RESULTS: Final = 5
SEMANTIC_THRESHOLD: Final = 0.3
EPISODIC_RESULTS: Final = 3
EPISODIC_THRESHOLD: Final = 0.4

_WHERE: Final = {
    "semantic": frozenset(("backend", "collection", "connection", "path", "dimension", "embeddings", "parameters")),
    "episodic": frozenset(("backend", "connection", "strict")),
}


class Remembers(NamedTuple):
    """An agent's declared memory beside its conversations."""

    semantic: SemanticMemory | None = None
    episodic: EpisodicMemory | None = None

    def of(self, kind: Kind) -> Declared | None:
        """What it declares of one kind."""
        return self.semantic if kind == "semantic" else self.episodic


def remembers(spec_json: str) -> Remembers:
    """What a version of an agent declares. Raises pydantic.ValidationError."""
    memory = AgentSpec.from_json(spec_json).memory
    return Remembers(memory.semantic, memory.episodic)


def place_json(kind: Kind, declared: Declared) -> str:
    """What of a declaration decides where the memory lies, as canonical JSON: it may be read back as a declaration."""
    return type(declared).model_validate(declared.model_dump(include=set(_WHERE[kind]))).to_json()


def embeddings_of(declared: Declared) -> EmbeddingsSpec:
    """The embedder: the built-in one unless another is declared.

    Raises InvalidInput where the memory's dimension is not that of its embeddings.
    """
    embeddings = declared.embeddings or EmbeddingsSpec()
    dimension = declared.dimension if isinstance(declared, SemanticMemory) else None
    if dimension is None:
        return embeddings
    known = embeddings.dimension or embeddings.known_dimension
    if known is None:
        return embeddings.model_copy(update={"dimension": dimension})
    if known != dimension:
        raise InvalidInput(f"memory.semantic.dimension is {dimension}, but {embeddings.model} makes vectors of {known}")
    return embeddings


def collection_of(mesh: str, namespace: str, shared: str, model: str, dimension: int) -> Collection:
    """Where semantic memory lies in its store: no pipeline's collection, nor another mesh's or another model's."""
    place = hashlib.sha256("\0".join((mesh, shared, model, str(dimension))).encode()).hexdigest()[:16]
    legible = re.sub(r"[^a-z0-9]+", "-", shared.lower()).strip("-")[:24]
    return Collection(f"memory/{namespace}/{legible}-{place}", model, dimension)


def in_sqlite(declared: Declared) -> bool:
    """Whether episodes lie in this service's own file: declared so, or for want of PostgreSQL's driver."""
    if not isinstance(declared, EpisodicMemory):
        return False
    return declared.backend == "sqlite" or (not declared.strict and not POSTGRES.installed)
