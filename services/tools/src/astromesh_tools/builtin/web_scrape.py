"""`web_scrape`: one page of the web, asked for at once and never more than once. What it says is read in `pages`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Final

import aiohttp
from pydantic import JsonValue
from yarl import URL

from astromesh_core.errors import AstromeshError, Denied, InvalidInput, NotFound, RateLimited, Unavailable
from astromesh_core.outbound import Outbound, check_target
from astromesh_core.resources.builtin_configs import WebScrapeConfig
from astromesh_core.resources.builtin_tools import PAGE_LENGTH
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.builtin.pages import readable
from astromesh_tools.builtin.tool import in_thread

MOST_BYTES: Final = 2 * 1024 * 1024
MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_GONE: Final = frozenset((404, 410))
_FORBIDDEN: Final = frozenset((401, 403, 407, 451))
_ACCEPT: Final = {"Accept": "text/html, application/json, text/*;q=0.9, */*;q=0.5"}


class WebScrape:
    """Asks for pages, for whoever may."""

    def __init__(self, config: WebScrapeConfig, outbound: Outbound, threads: DaemonThreads) -> None:
        self._config = config
        self._outbound = outbound
        self._threads = threads

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """The part of the page that is asked for, and how to read on. See the module `pages` for what is shown."""
        asked = str(arguments["url"])
        try:
            url, text = await self._page(_address(asked))
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{asked[:200]} cannot be reached: {_reason(error)}") from error
        start, most = arguments.get("start", 0), arguments.get("max_length", PAGE_LENGTH)
        # The schema says so.
        assert isinstance(start, int)
        assert isinstance(most, int)
        moved = "" if str(url) == str(_address(asked)) else f"[redirected to {url}]\n"
        return moved + _part(text, start, most)

    async def _page(self, url: URL) -> tuple[URL, str]:
        session = self._outbound.session(allow_private=self._config.allow_private)
        for _ in range(MOST_REDIRECTS + 1):
            self._check(url)
            async with session.get(url, headers=_ACCEPT, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return url, await self._read(url, response)
                url = _redirected(url, response)
        raise InvalidInput(f"the page is redirected more than {MOST_REDIRECTS} times")

    def _check(self, url: URL) -> None:
        check_target(url, allow_private=self._config.allow_private)
        host = (url.raw_host or "").rstrip(".").lower()
        patterns = self._config.allowed_hosts
        if patterns and not any(_matches(host, pattern) for pattern in patterns):
            raise Denied(f"{host[:200]} may not be asked; the hosts that may are {', '.join(patterns)}")

    async def _read(self, url: URL, response: aiohttp.ClientResponse) -> str:
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise _refusal(url, response)
        body = bytearray()
        async for part in response.content.iter_chunked(65_536):
            body += part
            if len(body) > MOST_BYTES:
                raise InvalidInput(f"{_shown(url)} has more than {MOST_BYTES} bytes, which is too much to read")
        read = partial(readable, bytes(body), response.content_type, response.charset or "", str(url))
        return await in_thread(self._threads, read)


def _address(text: str) -> URL:
    try:
        return URL(text.strip()).with_fragment(None)
    except ValueError as error:
        raise InvalidInput(f"url: {text[:200]!r} is no address; write one such as https://example.com/page") from error


def _redirected(url: URL, response: aiohttp.ClientResponse) -> URL:
    try:
        target = url.join(URL(response.headers.get("Location", ""))).with_fragment(None)
    except ValueError as error:
        raise InvalidInput(f"{_shown(url)} is redirected to what is no address") from error
    if url.scheme == "https" and target.scheme != "https":
        raise Denied(f"{_shown(url)} is redirected from https to {target.scheme or 'nothing'}")
    return target


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _refusal(url: URL, response: aiohttp.ClientResponse) -> AstromeshError:
    said = f"{_shown(url)} answers {response.status} {response.reason or ''}".rstrip()
    if response.status in _GONE:
        return NotFound(said)
    if response.status in _FORBIDDEN:
        return Denied(said)
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(said)
    return Unavailable(said) if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else InvalidInput(said)


def _part(text: str, start: int, most: int) -> str:
    end = start + most
    if start >= len(text) > 0:
        raise InvalidInput(f"start: the text has {len(text)} characters")
    if start == 0 and end >= len(text):
        return text
    left = f"; go on with start: {end}" if end < len(text) else ""
    return f"{text[start:end]}\n[characters {start} to {min(end, len(text))} of {len(text)}{left}]"


def _shown(url: URL) -> str:
    return str(url)[:200]


def _reason(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__
