"""Asking the web for pages, as a stranger who behaves: robots.txt is heeded, one host is asked at an even pace, answers
are bounded, and nobody is led to an address inside the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
from protego import Protego
from yarl import URL

from astromesh_core.errors import InvalidInput
from astromesh_core.outbound import Outbound, check_target
from astromesh_core.public_addresses import LeadsInside
from astromesh_rag.documents import Gone, Unchanged
from astromesh_rag.folders import MOST_BYTES, MOST_PACKED_BYTES
from astromesh_rag.formats import PACKED, format_of_media_type
from astromesh_rag.readers.text import Unreadable

AGENT: Final = "astromesh"
"""How robots.txt names us."""

USER_AGENT: Final = "astromesh/0.1 (documents for retrieval)"
MOST_REDIRECTS: Final = 5
PAGE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 30.0
ROBOTS_SECONDS: Final = 3_600.0
MOST_ROBOTS_BYTES: Final = 512_000
"""RFC 9309, 2.5: at least 500 KiB are read."""

_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_GONE: Final = frozenset((404, 410))


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is known of a page: it is sent only where it is another one by now (RFC 9110, 13)."""

    etag: str = ""
    last_modified: str = ""

    def headers(self) -> dict[str, str]:
        """The headers of the question."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Answer:
    """A page as it was sent."""

    path: str
    body: bytes
    media_type: str
    charset: str
    etag: str
    last_modified: str


class Web:
    """Asks for pages. Safe for concurrent callers; a host is asked for one at a time, with a pause of so many seconds
    at least between two."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._robots: dict[str, tuple[float, Protego | None]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._free: dict[str, float] = {}

    async def get(self, url: str, conditions: Conditions, *, allow_private: bool = False) -> Answer:
        """The page, redirects followed.

        Raises Unchanged where it is as it was, Gone where its server knows it no more, Unreadable for anything else.
        """
        try:
            async with asyncio.timeout(PAGE_SECONDS + LONGEST_PAUSE_SECONDS), Outbound(USER_AGENT) as outbound:
                session = outbound.session(allow_private=allow_private)
                return await self._get(session, URL(url), conditions, allow_private)
        except TimeoutError as error:
            raise Unreadable(f"does not answer within {PAGE_SECONDS:g} s") from error
        except (LeadsInside, InvalidInput) as error:
            raise Unreadable(f"is not asked for: {error.message}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreadable(f"cannot be fetched: {str(error) or type(error).__name__}") from error

    async def _get(
        self, session: aiohttp.ClientSession, url: URL, conditions: Conditions, allow_private: bool
    ) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            check_target(url, allow_private=allow_private)
            await self._heed(session, url, allow_private)
            async with (
                self._in_turn(url),
                session.get(url, headers=conditions.headers(), allow_redirects=False) as response,
            ):
                if response.status not in _REDIRECTS:
                    return await _answer(response)
                url = _redirected(url, response)
        raise Unreadable(f"is redirected more than {MOST_REDIRECTS} times")

    async def _heed(self, session: aiohttp.ClientSession, url: URL, allow_private: bool) -> None:
        origin = str(url.origin())
        now = asyncio.get_running_loop().time()
        until, rules = self._robots.get(origin, (0.0, None))
        if until < now:
            rules = await self._rules(session, url.origin() / "robots.txt", allow_private)
            self._robots[origin] = (now + ROBOTS_SECONDS, rules)
        if rules is not None and not rules.can_fetch(str(url), AGENT):
            raise Unreadable("is forbidden to us by the robots.txt of its host")

    async def _rules(self, session: aiohttp.ClientSession, url: URL, allow_private: bool) -> Protego | None:
        """The rules of a host; None where it has none. A server that fails to tell them forbids all (RFC 9309, 2.3)."""
        for _ in range(MOST_REDIRECTS + 1):
            check_target(url, allow_private=allow_private)
            async with self._in_turn(url), session.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECTS:
                    url = _redirected(url, response)
                    continue
                if (
                    response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                    or response.status == HTTPStatus.TOO_MANY_REQUESTS
                ):
                    raise Unreadable(f"is not asked for: robots.txt of its host answers {response.status}")
                if response.status != HTTPStatus.OK:
                    return None
                body = await _read(response, MOST_ROBOTS_BYTES, cut=True)
                return Protego.parse(body.decode("utf-8", "replace"))
        return None

    @asynccontextmanager
    async def _in_turn(self, url: URL) -> AsyncGenerator[None]:
        host = url.host or ""
        loop = asyncio.get_running_loop()
        async with self._turns.setdefault(host, asyncio.Lock()):
            await asyncio.sleep(max(0.0, self._free.get(host, 0.0) - loop.time()))
            try:
                yield
            finally:
                self._free[host] = loop.time() + self._pause_of(url)

    def _pause_of(self, url: URL) -> float:
        _, rules = self._robots.get(str(url.origin()), (0.0, None))
        wanted = (rules.crawl_delay(AGENT) if rules is not None else None) or 0.0
        return min(max(self._pause, float(wanted)), LONGEST_PAUSE_SECONDS)


def _redirected(url: URL, response: aiohttp.ClientResponse) -> URL:
    target = url.join(URL(response.headers.get("Location", "")))
    if url.scheme == "https" and target.scheme != "https":
        raise Unreadable(f"is redirected from https to {target.scheme}")
    return target.with_fragment(None)


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if status == HTTPStatus.NOT_MODIFIED:
        raise Unchanged
    if status in _GONE:
        raise Gone(f"is gone: its server answers {status}")
    if status != HTTPStatus.OK:
        raise Unreadable(f"is not sent: its server answers {status}")
    if "Content-Type" not in response.headers:
        raise Unreadable("comes without a media type")
    packed = format_of_media_type(response.content_type) in PACKED
    body = await _read(response, MOST_PACKED_BYTES if packed else MOST_BYTES)
    return Answer(
        path=response.url.path,
        body=body,
        media_type=response.content_type,
        charset=response.charset or "",
        etag=response.headers.get("ETag", ""),
        last_modified=response.headers.get("Last-Modified", ""),
    )


async def _read(response: aiohttp.ClientResponse, most: int, *, cut: bool = False) -> bytes:
    """The body, unpacked. Raises Unreadable for one that is larger, unless it may be cut."""
    if not cut and (response.content_length or 0) > most:
        raise Unreadable(f"has {response.content_length} bytes; a document may have {most}")
    body = bytearray()
    async for part in response.content.iter_chunked(65_536):
        body += part
        if len(body) > most:
            if cut:
                return bytes(body[:most])
            raise Unreadable(f"has more than {most} bytes; a document may not")
    return bytes(body)
