"""What there is to ingest: the documents of a request, the files of declared folders, and the texts in them. Blocks."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.rag_pipeline import DirectorySource

MOST_BYTES = 10_000_000
"""Of one document. A larger one is no document but a data set: split it."""

FILE_PREFIX = "file:"
GIVEN_PREFIX = "given:"


class Unreadable(Exception):
    """This document cannot be ingested; the message says why."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `id` names it in the store, `source` to people. `read` gives its text or raises Unreadable."""

    id: str
    source: str
    read: Callable[[], str]


@dataclass(slots=True)
class Listing:
    """The documents to ingest, and what was found that cannot be.

    With `replaces_files`, the listing is everything that the declared folders hold: a file that was ingested and is not
    in it has vanished, unless its id starts with one of `kept` (folders that could not be looked into).
    """

    documents: list[Document] = field(default_factory=list[Document])
    refused: list[str] = field(default_factory=list[str])
    kept: list[str] = field(default_factory=list[str])
    replaces_files: bool = False

    def vanished(self, stored: Iterable[str]) -> list[str]:
        """Which of the stored documents are to be removed."""
        if not self.replaces_files:
            return []
        here = {document.id for document in self.documents}
        kept = tuple(self.kept)
        return [one for one in stored if one.startswith(FILE_PREFIX) and one not in here and not one.startswith(kept)]


def list_files(config: Path, sources: Iterable[DirectorySource], *, confined: bool = False) -> Listing:
    """The files of declared folders, by name. Raises InvalidInput for a glob that cannot be, and, if `confined`, for a
    folder outside the config folder."""
    listing = Listing(replaces_files=True)
    for source in sources:
        folder = config / source.path
        if confined and not folder.resolve().is_relative_to(config.resolve()):
            raise InvalidInput(f"{source.path} lies outside the config folder; only a pipeline in a file may name it")
        _list_folder(folder, source, listing)
    return listing


def given(source: str, text: str) -> Document:
    """A document as a request brings it. Raises InvalidInput without a source."""
    if not source.strip():
        raise InvalidInput("a document has no source; name it, so that it can be replaced")

    def read() -> str:
        if len(text) > MOST_BYTES:
            raise Unreadable(f"has {len(text)} characters; a document may have {MOST_BYTES}")
        return text

    return Document(GIVEN_PREFIX + source, source, read)


def is_markdown(source: str) -> bool:
    """Whether headings stand in the document as markdown has them."""
    return PurePosixPath(source.lower()).suffix in (".md", ".markdown", ".mdx")


def _list_folder(folder: Path, source: DirectorySource, listing: Listing) -> None:
    prefix = f"{FILE_PREFIX}{source.path.rstrip('/')}/"
    if not folder.is_dir():
        listing.kept.append(prefix)
        listing.refused.append(f"{source.path}: there is no such folder")
        return
    root = folder.resolve()
    known = {document.id for document in listing.documents}
    try:
        found = sorted({path for glob in source.glob for path in folder.glob(glob)})
    except (NotImplementedError, ValueError) as error:
        raise InvalidInput(f"the glob {source.glob} of {source.path} is none: {error}") from error
    for path in found:
        if path.is_dir() or ".." in path.relative_to(folder).parts:
            continue
        name = path.relative_to(folder).as_posix()
        if not path.resolve().is_relative_to(root):
            listing.refused.append(f"{name}: is a link out of its folder")
        elif prefix + name not in known:
            listing.documents.append(Document(prefix + name, name, lambda path=path: read_file(path)))


def read_file(path: Path) -> str:
    """The text of a file. Raises Unreadable, with the reason, for one that is no text of a bearable size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is no regular file")
        if status.st_size > MOST_BYTES:
            raise Unreadable(f"has {status.st_size} bytes; a document may have {MOST_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error
    if b"\0" in data:
        raise Unreadable("is binary: it holds a zero byte")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8: byte {error.start}") from error
