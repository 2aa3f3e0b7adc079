"""The pages of declared addresses. How the web is asked stands in `web`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from astromesh_core.filters import LONGEST_TEXT, MetadataValue
from astromesh_core.resources.rag_pipeline import UrlSource
from astromesh_rag.documents import PAGE_PREFIX, Document, Kept, Listing, Load, Loaded
from astromesh_rag.formats import format_of_media_type, format_of_name
from astromesh_rag.parsing import Raw
from astromesh_rag.readers.text import Unreadable
from astromesh_rag.web import Answer, Conditions, Web

ETAG: Final = "etag"
LAST_MODIFIED: Final = "last_modified"


def list_pages(web: Web, sources: Iterable[UrlSource], listing: Listing) -> None:
    """Adds the pages of declared addresses. None is asked for yet."""
    known = {document.id for document in listing.documents}
    for source in sources:
        for url in source.urls:
            if PAGE_PREFIX + url not in known:
                known.add(PAGE_PREFIX + url)
                load = _loading(web, url, allow_private=source.allow_private)
                listing.documents.append(Document(PAGE_PREFIX + url, url, load, conditional=True))


def _loading(web: Web, url: str, *, allow_private: bool) -> Load:
    async def load(kept: Kept) -> Loaded:
        conditions = Conditions(str(kept.get(ETAG, "")), str(kept.get(LAST_MODIFIED, "")))
        return _loaded(await web.get(url, conditions, allow_private=allow_private))

    return load


def _loaded(answer: Answer) -> Loaded:
    format_ = format_of_media_type(answer.media_type)
    if format_ == "text":
        # Servers that do not know Markdown and CSV call them plain text.
        format_ = format_of_name(answer.path)
    if format_ is None:
        raise Unreadable(f"is of media type {answer.media_type[:80]!r}, which nobody reads")
    notes: dict[str, MetadataValue] = {
        name: value
        for name, value in ((ETAG, answer.etag), (LAST_MODIFIED, answer.last_modified))
        if 0 < len(value) <= LONGEST_TEXT
    }
    return Loaded(Raw(format_, answer.body, answer.charset), notes=notes)
