"""PDF to text, page after page. What is drawn or scanned holds no text; reading pictures is not done here."""

from __future__ import annotations

import io
from typing import Final

from pypdf import PdfReader
from pypdf.errors import DependencyError, PyPdfError

from astromesh_rag.readers.text import MOST_CHARACTERS, Text, Unreadable

_BETWEEN: Final = "\n\n"


def read_pdf(data: bytes) -> Text:
    """The text of all pages, parted by a blank line, and where each begins. Raises Unreadable."""
    try:
        return _read(data)
    except DependencyError as error:
        raise Unreadable("is encrypted") from error
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, RecursionError) as error:
        # A damaged file meets pypdf in any of these.
        raise Unreadable(f"is a damaged PDF: {error}") from error


def _read(data: bytes) -> Text:
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("is encrypted; store it without a password")
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for page in reader.pages:
        text = page.extract_text().strip()
        starts.append(length)
        parts.append(text)
        length += len(text) + len(_BETWEEN)
        if length > MOST_CHARACTERS:
            raise Unreadable(f"has more than {MOST_CHARACTERS} characters on its first {len(parts)} pages")
    if not any(parts):
        raise Unreadable("holds no text: its pages may be pictures")
    return Text(_BETWEEN.join(parts), pages=tuple(starts))
