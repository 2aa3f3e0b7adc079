"""Files of this machine as the documents of requests: so many at a time as one request may hold."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astromesh_cli.client.failures import Failed
from astromesh_core.errors import InvalidInput

if TYPE_CHECKING:
    from pydantic import JsonValue

MOST_BYTES = 10_000_000
"""Of one request's files: a third more in base64, which the mesh reads at most 15 MiB of."""

Documents = list["JsonValue"]


def batches(files: Sequence[Path], metadata: dict[str, JsonValue]) -> Iterator[Documents]:
    """The files in the order given, each under its path. Raises Failed for one that cannot be sent."""
    batch: Documents = []
    size = 0
    for file in files:
        data = _read(file)
        if batch and size + len(data) > MOST_BYTES:
            yield batch
            batch, size = [], 0
        size += len(data)
        document: dict[str, JsonValue] = {"source": file.as_posix(), "metadata": metadata}
        batch.append({**document, **_content(data)})
    yield batch


def check_distinct(files: Sequence[Path]) -> None:
    """Raises InvalidInput for a file that is named twice."""
    twice = {file.as_posix() for file in files if files.count(file) > 1}
    if twice:
        raise InvalidInput(f"named twice: {', '.join(sorted(twice))}")


def _content(data: bytes) -> dict[str, JsonValue]:
    # An empty file is an empty text: there is no base64 of nothing.
    return {"data": base64.b64encode(data).decode()} if data else {"text": ""}


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise Failed(f"{file} has {size} bytes; a file that is sent may have {MOST_BYTES}")
        return file.read_bytes()
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror or error}") from error
