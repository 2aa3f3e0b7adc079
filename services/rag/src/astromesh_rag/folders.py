"""The files of declared folders: which ones there are, and their bytes. Blocks; nothing is parsed here."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.rag_pipeline import DirectorySource
from astromesh_rag.documents import FILE_PREFIX, Document, Kept, Listing, Load, Loaded
from astromesh_rag.formats import PACKED, format_of_name
from astromesh_rag.parsing import Raw
from astromesh_rag.readers.text import Unreadable

MOST_BYTES: Final = 10_000_000
"""Of one document. A larger one is no document but a data set: split it."""

MOST_PACKED_BYTES: Final = 50_000_000
"""Of one in a format that packs its text, or pictures beside it."""

_READINGS: Final = 3
_PAUSE_SECONDS: Final = 0.05


def list_files(config: Path, sources: Sequence[DirectorySource], *, confined: bool = False) -> Listing:
    """The files of declared folders, by name, as all that there is.

    Raises InvalidInput for a glob that cannot be, and, if `confined`, for a folder outside the config folder.
    """
    listing = Listing(complete=True)
    for source in sources:
        folder = config / source.path
        if confined and not folder.resolve().is_relative_to(config.resolve()):
            raise InvalidInput(f"{source.path} lies outside the config folder; only a pipeline in a file may name it")
        _list_folder(folder, source, listing)
    # After all of them: what one does not find in a folder, another one may.
    for source in sources:
        prefix = _prefix(source)
        known_missing = source.allow_empty or prefix in listing.kept
        if not known_missing and not any(document.id.startswith(prefix) for document in listing.documents):
            listing.doubted[prefix] = source.path
    return listing


def read_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file, as they were at one moment. Raises Unreadable, with the reason."""
    try:
        for _ in range(_READINGS):
            data = _read_once(path, most_bytes)
            if data is not None:
                return data
            time.sleep(_PAUSE_SECONDS)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error
    raise Unreadable("changes while it is read; it is taken in once it stands still")


def most_bytes(name: str) -> int:
    """How large a file of this name may be."""
    return MOST_PACKED_BYTES if format_of_name(name) in PACKED else MOST_BYTES


def _list_folder(folder: Path, source: DirectorySource, listing: Listing) -> None:
    prefix = _prefix(source)
    if not folder.is_dir():
        listing.kept.append(prefix)
        listing.failures.append(f"{source.path}: there is no such folder")
        return
    for unread, reason in _unreadable_folders(folder):
        name = unread.relative_to(folder).as_posix()
        # What cannot be looked into has not vanished.
        listing.kept.append(prefix if name == "." else f"{prefix}{name}/")
        listing.failures.append(f"{source.path}{'' if name == '.' else f'/{name}'}: {reason}")
    root = folder.resolve()
    known = {document.id for document in listing.documents}
    for path in _matches(folder, source):
        name = path.relative_to(folder).as_posix()
        if prefix + name in known:
            continue
        if path.resolve().is_relative_to(root):
            listing.documents.append(Document(prefix + name, name, _loading(path, root)))
        else:
            listing.refused.append(f"{name}: is a link out of its folder")


def _prefix(source: DirectorySource) -> str:
    """What the ids of the folder's documents begin with."""
    return f"{FILE_PREFIX}{source.path.rstrip('/')}/"


def _matches(folder: Path, source: DirectorySource) -> list[Path]:
    found: set[Path] = set()
    for glob in source.glob:
        try:
            found.update(folder.glob(glob))
        except (NotImplementedError, ValueError) as error:
            raise InvalidInput(f"the glob {glob!r} of {source.path} is none: {error}") from error
    return [path for path in sorted(found) if not path.is_dir() and ".." not in path.relative_to(folder).parts]


def _unreadable_folders(folder: Path) -> list[tuple[Path, str]]:
    # A glob passes over them in silence, as if they were empty.
    found: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        found.append((Path(error.filename), f"cannot be listed: {error.strerror or error}"))

    for _ in os.walk(folder, onerror=note):
        pass
    return found


def _loading(path: Path, root: Path) -> Load:
    def read() -> Loaded:
        # It may have become a link since it was listed.
        if not path.resolve().is_relative_to(root):
            raise Unreadable("is a link out of its folder")
        return Loaded(Raw(format_of_name(path.name), read_file(path, most_bytes(path.name))))

    async def load(kept: Kept) -> Loaded:
        return await asyncio.to_thread(read)

    return load


def _read_once(path: Path, most: int) -> bytes | None:
    """The bytes; None where they changed meanwhile."""
    # Not blocking, or a pipe that takes a file's place would hold the thread for ever.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Unreadable("is no regular file")
        if before.st_size > most:
            raise Unreadable(f"has {before.st_size} bytes; a document may have {most}")
        data = file.read(most + 1)
        after = os.fstat(file.fileno())
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(data) == after.st_size
    return data if same else None
