"""The formats that documents come in: by the ending of a name, by a media type, and who reads each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, Literal

from astromesh_rag.readers.text import Text, Unreadable, bounded, decoded

Format = Literal["markdown", "text", "html", "pdf", "docx", "csv", "json", "json_lines"]

PARSED: Final[frozenset[Format]] = frozenset(("html", "pdf", "docx", "csv", "json", "json_lines"))
"""Read in a process of their own: reading them can take long, much memory, or down whoever reads."""

PACKED: Final[frozenset[Format]] = frozenset(("pdf", "docx"))
"""Larger than their texts."""

_ENDINGS: Final[dict[str, Format]] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
}

_MEDIA_TYPES: Final[dict[str, Format]] = {
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/json": "json",
    "application/jsonl": "json_lines",
    "application/x-ndjson": "json_lines",
    "text/plain": "text",
}


def format_of_name(name: str) -> Format:
    """The format of a file by its name's ending; `text` for any other."""
    return _ENDINGS.get(PurePosixPath(name.lower()).suffix, "text")


def format_of_media_type(media_type: str) -> Format | None:
    """The format of a media type, its parameters aside; None for one that holds no readable document."""
    essence = media_type.partition(";")[0].strip().lower()
    if essence.endswith("+json"):
        return "json"
    return _MEDIA_TYPES.get(essence)


def read(format_: Format, data: bytes, charset: str = "") -> Text:
    """The text of a document. Blocks, and for some formats takes long. Raises Unreadable."""
    if format_ in ("markdown", "text"):
        return bounded(Text(decoded(data, charset), markdown=format_ == "markdown"))
    return bounded(_reader(format_, charset)(data))


def _reader(format_: Format, charset: str) -> Callable[[bytes], Text]:
    # Imported here because each of these libraries is slow to import, and most pipelines hold Markdown alone.
    match format_:
        case "pdf":
            from astromesh_rag.readers.pdf import read_pdf

            return read_pdf
        case "docx":
            from astromesh_rag.readers.docx import read_docx

            return read_docx
        case "html":
            from astromesh_rag.readers.html import read_html

            return lambda data: read_html(data, charset)
        case _:
            return _record_reader(format_, charset)


def _record_reader(format_: Format, charset: str) -> Callable[[bytes], Text]:
    from astromesh_rag.readers.records import read_csv, read_json, read_json_lines

    match format_:
        case "csv":
            return lambda data: read_csv(data, charset)
        case "json":
            return lambda data: read_json(data, charset)
        case "json_lines":
            return lambda data: read_json_lines(data, charset)
        case _:
            raise Unreadable(f"has the format {format_}, which nobody reads")
