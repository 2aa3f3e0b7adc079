"""What there is to ingest: documents, whoever brings them, and what of a pipeline's earlier ones is gone. Where
documents come from stands in `folders`, `pages` and `given`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from astromesh_core.filters import Metadata, MetadataValue
from astromesh_rag.parsing import Raw
from astromesh_rag.readers.text import Text

FILE_PREFIX: Final = "file:"
PAGE_PREFIX: Final = "page:"
GIVEN_PREFIX: Final = "given:"

Kept = Mapping[str, MetadataValue]
"""What the store holds with a document; empty where it holds none, or one that has to be taken in anew anyway."""


class Unchanged(Exception):
    """The document is as it was when it was taken in: there is nothing to read."""


class Gone(Exception):
    """The document is no more; the message says who said so."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document as it came, and what is to be kept with it."""

    raw: Raw
    metadata: Metadata = field(default_factory=dict[str, MetadataValue])
    """What filters see."""
    notes: Metadata = field(default_factory=dict[str, MetadataValue])
    """What its origin is asked with next time. They may change where the document does not."""
    text: Text | None = None
    """Where it was read already."""


Load = Callable[[Kept], Awaitable[Loaded]]


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `id` names it in the store, `source` to people.

    `load` gives what it is now, given what was kept. It raises Unreadable, Unchanged or Gone.
    """

    id: str
    source: str
    load: Load
    conditional: bool = False
    """Whether `load` makes use of what was kept."""


@dataclass(slots=True)
class Vanished:
    """Which documents are to be removed, and why others that were not found are not."""

    removed: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Listing:
    """The documents to ingest, and what was found that cannot be.

    With `complete`, the listing is everything that the declared sources hold: what was ingested from sources and is not
    in it has vanished, unless its id starts with one of `kept` (folders that could not be looked into).
    """

    documents: list[Document] = field(default_factory=list[Document])
    refused: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])
    """Sources that could not be looked into at all: the ingestion fails, after it took in the others."""
    kept: list[str] = field(default_factory=list[str])
    removals: list[str] = field(default_factory=list[str])
    """Documents, by id, that somebody wants to be removed."""
    doubted: dict[str, str] = field(default_factory=dict[str, str])
    """Prefixes under which there is nothing any more, which mostly means that a folder is not mounted; by the name of
    their source."""
    complete: bool = False

    def vanished(self, stored: Collection[str]) -> Vanished:
        """What of the stored documents is gone."""
        found = Vanished()
        if not self.complete:
            return found
        kept = list(self.kept)
        for prefix, source in self.doubted.items():
            count = sum(one.startswith(prefix) for one in stored)
            if count:
                kept.append(prefix)
                found.failures.append(
                    f"{source}: holds none of the {count} documents that were taken in from it; is it mounted? "
                    "If they are gone for good, declare allow_empty: true"
                )
        here = {document.id for document in self.documents}
        found.removed = [
            one
            for one in stored
            if one.startswith((FILE_PREFIX, PAGE_PREFIX)) and one not in here and not one.startswith(tuple(kept))
        ]
        return found
