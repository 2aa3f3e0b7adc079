"""What memory and rag ask of an embedder and of a vector store. No implementation stands here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from astromesh_core.filters import Filter, Metadata, MetadataValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astromesh.v1.values_pb2 import Passage

    Vectors: TypeAlias = NDArray[np.float32]
    """One row a text; float32, `(n, dimension)`."""


class Embedder(Protocol):
    """Turns texts into vectors whose cosine says how near their meanings are."""

    @property
    def name(self) -> str:
        """The model's public name; vectors of different names may not be compared."""
        ...

    @property
    def dimension(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit-length row per text, in order. No text gives no row; an empty text has a vector too."""
        ...

    async def close(self) -> None:
        """Frees the model. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Match:
    """A passage that was found, with its `id`, and its unit vector, `(dimension,)`."""

    passage: Passage
    vector: Vectors


@dataclass(frozen=True, slots=True)
class Matches:
    """What two ways of searching found in one state of a store, each best first."""

    by_vector: list[Match] = field(default_factory=list[Match])
    """`passage.score` is the cosine."""
    by_words: list[Match] = field(default_factory=list[Match])


@runtime_checkable
class VectorStore(Protocol):
    """Keeps the passages of documents with their vectors, and finds the nearest ones.

    A document is replaced or removed as a whole: a search sees all of its old passages or all of its new ones. What
    was acknowledged survives the process being killed. Calls may come from many tasks at once. A store that cannot be
    reached raises Unavailable, and serves again by itself once it is back.
    """

    @property
    def dimension(self) -> int: ...

    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: Vectors,
        metadata: Metadata | None = None,
        text: str = "",
    ) -> bool:
        """Makes these the document's passages, in place of those it had; False when it stood at this hash already.

        The hash stands for all that decides the passages: content, chunking, model, metadata. Of a passage, `source`,
        `start`, `end`, `headings`, plain `text` and `metadata_json` are kept; filters see the document's metadata and
        the passage's own, which goes first. `text` is kept with the document and found by nothing. Raises InvalidInput,
        before anything is written, for vectors of another dimension or number, or without a direction, and for
        metadata that `astromesh_core.filters` does not take.
        """
        ...

    async def remove(self, document: str) -> bool:
        """Forgets the document and its passages; False when it was not there."""
        ...

    async def documents(self, where: Filter | None = None) -> dict[str, bytes]:
        """The content hash of each document by its id; of those alone whose own metadata meets the condition."""
        ...

    async def metadata(self, document: str) -> dict[str, MetadataValue]:
        """The metadata that `put` was given with the document. Raises NotFound."""
        ...

    async def text(self, document: str) -> str:
        """The text that `put` was given with the document. Raises NotFound."""
        ...

    async def passages(self, document: str) -> list[Match]:
        """The document's passages in their order, without a score. Raises NotFound."""
        ...

    async def count(self) -> int:
        """How many passages are kept."""
        ...

    async def search(
        self,
        vector: Vectors | None,
        words: str,
        limit: int,
        where: Filter | None = None,
        min_score: float = -1.0,
    ) -> Matches:
        """At most `limit` passages nearest to the vector, and as many that share words with `words`, by BM25.

        Both are of one state: no document is in it with old and new passages. None and "" ask for nothing. Passages
        come with `id`, `sha256`, `score` and, in `metadata_json`, all that filters see. Equal scores stand in the
        order of writing. Only passages that meet `where` are found, and `limit` of them where there are as many;
        those with a cosine below `min_score` are left out `by_vector`. `words` is plain text and no query language.
        Raises InvalidInput for a vector of another dimension or a `limit` below 1.
        """
        ...

    async def close(self) -> None:
        """Lets go of files, connections and threads. Idempotent; a later call of another method raises Unavailable."""
        ...
