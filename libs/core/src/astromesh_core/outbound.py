"""Requests to addresses that a resource names or a page leads to: none reaches into the network unless that is allowed.

What is judged is the very address that is connected to, for each request and each redirect: there is no second look-up
that could answer otherwise.
"""

from __future__ import annotations

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from astromesh_core.errors import InvalidInput
from astromesh_core.public_addresses import LeadsInside, is_public

CONNECT_SECONDS = 10.0
MOST_CONNECTIONS = 100


def check_target(url: URL, *, allow_private: bool) -> None:
    """Raises LeadsInside for an address inside the network, InvalidInput for what is no address of a server.

    Names are judged when they are looked up.
    """
    if url.scheme not in ("http", "https") or not url.host or url.user is not None:
        raise InvalidInput(f"{url.host or 'nothing'} with {url.scheme or 'no scheme'} is no address of a server")
    literal = url.host.strip("[]")
    if not allow_private and (":" in literal or literal.replace(".", "").isdigit()) and not is_public(literal):
        raise LeadsInside(url.host)


class PublicResolver(AbstractResolver):
    """Looks names up, and raises LeadsInside for one that leads inside."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:  # pyright: ignore[reportIncompatibleMethodOverride] - aiohttp passes a plain int
        """See AbstractResolver."""
        found = await self._resolver.resolve(host, port, family)  # pyright: ignore[reportArgumentType] - see above
        if not all(is_public(one["host"]) for one in found):
            raise LeadsInside(host)
        return found

    async def close(self) -> None:
        """See AbstractResolver."""
        await self._resolver.close()


class Outbound:
    """Connections to the outside. Redirects are the caller's to follow, each with `check_target`.

    `async with` it: leaving closes every connection.
    """

    def __init__(self, user_agent: str, *, most: int = MOST_CONNECTIONS) -> None:
        """`most` connections of each kind at once; 0: any number, for whoever bounds them otherwise."""
        self._user_agent = user_agent
        self._most = most
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Outbound:
        return self

    async def __aexit__(self, *exception: object) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def session(self, *, allow_private: bool, kept: bool = True) -> aiohttp.ClientSession:
        """The session for those who may reach inside, or for those who may not. It keeps no cookies; not `kept`: nor
        connections, so that every request has one of its own."""
        found = self._sessions.get((allow_private, kept))
        if found is None:
            resolver = aiohttp.ThreadedResolver() if allow_private else PublicResolver()
            connector = aiohttp.TCPConnector(
                resolver=resolver, use_dns_cache=False, limit=self._most, force_close=not kept
            )
            found = self._sessions[allow_private, kept] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers={"User-Agent": self._user_agent},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return found
