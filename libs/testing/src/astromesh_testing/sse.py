"""Reading server-sent events as a client does (WHATWG HTML §9.2, as far as our streams use it)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import orjson


class Message(NamedTuple):
    """One message of a stream."""

    name: str
    data: Any
    id: str


async def messages(response: httpx.Response) -> AsyncIterator[Message]:
    """The messages of a stream, as they come."""
    name = data = place = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        elif field == "id":
            place = value
        elif not line and name:
            yield Message(name, orjson.loads(data), place)
            name = data = place = ""
