"""Documents as requests bring them, and as the store kept them."""

from __future__ import annotations

from typing import Final

import orjson

from astromesh_core.errors import InvalidInput
from astromesh_core.filters import Metadata, MetadataValue, checked_metadata
from astromesh_core.resources.spelling import is_mapping
from astromesh_rag.documents import GIVEN_PREFIX, Document, Kept, Load, Loaded
from astromesh_rag.formats import PARSED, Format, format_of_media_type, format_of_name
from astromesh_rag.parsing import Raw
from astromesh_rag.readers.text import MOST_CHARACTERS, Text, Unreadable

_MARK: Final = "\x1e"
"""Stands before the head of a kept text that was read of a file. No text of a request begins with it."""


def given_text(source: str, text: str, metadata: Metadata | None = None) -> Document:
    """A document of text. Raises InvalidInput without a source."""
    _check_source(source)
    raw = Raw(_text_format(format_of_name(source)), text.removeprefix(_MARK).encode())

    async def load(kept: Kept) -> Loaded:
        if len(text) > MOST_CHARACTERS:
            raise Unreadable(f"has {len(text)} characters; a document may have {MOST_CHARACTERS}")
        return Loaded(raw, metadata or {})

    return Document(GIVEN_PREFIX + source, source, load)


def given_file(source: str, data: bytes, media_type: str = "", metadata: Metadata | None = None) -> Document:
    """A file. Raises InvalidInput without a source, and for a media type that nobody reads."""
    _check_source(source)
    format_ = format_of_media_type(media_type) if media_type else format_of_name(source)
    if format_ is None:
        raise InvalidInput(f"{source[:80]!r} is of media type {media_type[:80]!r}, which nobody reads")
    return Document(GIVEN_PREFIX + source, source, _loading(Loaded(Raw(format_, data), metadata or {})))


def read_metadata(text: str) -> dict[str, MetadataValue]:
    """The metadata that JSON text holds; none where it is empty. Raises InvalidInput."""
    if not text.strip():
        return {}
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"metadata is no JSON: {error}") from error
    if not is_mapping(value):
        raise InvalidInput("metadata is no object of texts, numbers, true and false")
    if "source" in value:
        raise InvalidInput("metadata may not name a source: that is the document's own")
    return checked_metadata(value)


def kept_text(raw: Raw, text: Text) -> str:
    """What is kept of a document that only a request held, so that it can be cut another way."""
    if raw.format not in PARSED:
        return text.text
    head = {
        "format": raw.format,
        "charset": raw.charset,
        "sha256": raw.digest().hex(),
        "markdown": text.markdown,
        "pages": list(text.pages),
    }
    return f"{_MARK}{orjson.dumps(head).decode()}\n{text.text}"


def kept_document(document_id: str, kept: str, metadata: Metadata) -> Document:
    """A document of a request as the store kept it, with what filters saw of it."""
    source = document_id.removeprefix(GIVEN_PREFIX)
    if not kept.startswith(_MARK):
        return given_text(source, kept, metadata) if kept else Document(document_id, source, _not_kept)
    line, _, text = kept[1:].partition("\n")
    head = orjson.loads(line)
    raw = Raw(head["format"], b"", head["charset"], bytes.fromhex(head["sha256"]))
    loaded = Loaded(raw, metadata, text=Text(text, head["markdown"], tuple(head["pages"])))
    return Document(document_id, source, _loading(loaded))


async def _not_kept(kept: Kept) -> Loaded:
    raise Unreadable("was taken in with other settings, and its text is not kept; send it again")


def _loading(loaded: Loaded) -> Load:
    async def load(kept: Kept) -> Loaded:
        return loaded

    return load


def _check_source(source: str) -> None:
    if not source.strip():
        raise InvalidInput("a document has no source; name it, so that it can be replaced")


def _text_format(format_: Format) -> Format:
    # A text is what it is: what was made of a PDF is no PDF, though its source be named like one.
    return "markdown" if format_ == "markdown" else "text"
