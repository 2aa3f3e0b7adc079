"""Headers that a resource declares for requests of ours: names that are names, values of one line, none of ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from pydantic_core import PydanticCustomError

HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

SET_BY_ITSELF: Final = frozenset(("host", "content-length", "transfer-encoding", "connection"))
"""What no declaration may set: whoever sends a request knows them."""


def check_headers(headers: Mapping[str, str], reserved: Collection[str]) -> None:
    """Raises PydanticCustomError for what is no header, and for one of those reserved (in lower case)."""
    for name, text in headers.items():
        if not HEADER.fullmatch(name) or "\n" in text or "\r" in text:
            raise PydanticCustomError("header", "has {name}, which is no header", {"name": repr(name)})
        if name.lower() in reserved:
            raise PydanticCustomError("header", "sets {name}, which is set by itself", {"name": name})
