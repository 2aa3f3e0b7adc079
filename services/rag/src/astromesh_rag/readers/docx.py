"""DOCX to Markdown, by way of the HTML that mammoth makes of it. Pictures are left out, and nothing outside is read."""

from __future__ import annotations

import io
import zipfile
from typing import Final
from xml.parsers.expat import ExpatError

import mammoth

from astromesh_rag.readers.html import markdown_of
from astromesh_rag.readers.text import Text, Unreadable

MOST_UNPACKED_BYTES: Final = 100_000_000
_MOST_TIMES: Final = 200
"""Packed text shrinks to a tenth; what grows more than so many times was made to."""


def read_docx(data: bytes) -> Text:
    """The document's text with its headings. Raises Unreadable."""
    _check(data)
    try:
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=mammoth.images.img_element(_no_image)).value
    except (zipfile.BadZipFile, ExpatError, KeyError, ValueError, OSError, AttributeError, IndexError) as error:
        raise Unreadable(f"is a damaged DOCX: {error}") from error
    return Text(markdown_of(html), markdown=True)


def _check(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Unreadable(f"is no DOCX: {error}") from error
    if "word/document.xml" not in {entry.filename for entry in entries}:
        raise Unreadable("is no DOCX: it holds no word/document.xml")
    # What an entry says of its size is all that is unpacked of it.
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MOST_UNPACKED_BYTES or unpacked > _MOST_TIMES * len(data):
        raise Unreadable(f"unpacks to {unpacked} bytes from {len(data)}; that is no document")


def _no_image(image: object) -> dict[str, str]:
    return {"src": ""}
