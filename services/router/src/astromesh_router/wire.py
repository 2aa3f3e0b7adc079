"""HTTP to model servers: pooled connections, no cookies, no redirects, failures named. Formats stand in `dialects`.

httpx's client is left out on purpose: its transport port alone costs half as much CPU a call, and has no cookies or
redirects that would have to be switched off.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.request import getproxies

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from astromesh_core.errors import InvalidInput, TimedOut, Unavailable
from astromesh_router.candidates import Candidate
from astromesh_router.failures import CandidateFailed, failed

HEADERS = [
    (b"accept-encoding", b"identity"),  # deltas must not wait in a compressor
    (b"user-agent", b"astromesh"),
]
KEEP_ALIVE_SECONDS = 30.0
ERROR_BODY_LIMIT = 64 * 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


@dataclass(frozen=True)
class Address:
    """Where one request goes, with the key that opens it, which is shown nowhere."""

    url: httpx.URL
    headers: list[tuple[bytes, bytes]] = field(repr=False)
    key: str = field(default="", repr=False)

    def without_key(self, text: str) -> str:
        """Takes the key out of a vendor's words: some echo it."""
        return text.replace(self.key, "[key]") if self.key else text


def address(candidate: Candidate, url: str, key: str) -> Address:
    """Parses a URL and adds the key. Raises CandidateFailed for one that is no http address."""
    try:
        parsed = parsed_url(url)
        bearer = [(b"authorization", b"Bearer " + key.encode("ascii"))] if key else []
    except httpx.InvalidURL as error:
        raise failed(candidate, InvalidInput, "the endpoint is not a URL", advice="mend endpoint") from error
    except UnicodeEncodeError as error:
        raise failed(candidate, InvalidInput, f"{candidate.key_name} holds more than ASCII") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise failed(candidate, InvalidInput, "the endpoint is not an http or https URL", advice="mend endpoint")
    return Address(parsed, [*HEADERS, *bearer], key)


@lru_cache(maxsize=1024)
def parsed_url(url: str) -> httpx.URL:
    """Parses a URL; the few endpoints of a mesh are parsed once. Raises httpx.InvalidURL."""
    return httpx.URL(url)


class Wire:
    """Sends requests to model servers and hands out their bytes as they come.

    Connections are pooled per host and kept alive. The TLS context is made at the first https call. Close it when done.
    """

    def __init__(self, connect_seconds: float = 5.0) -> None:
        self._timeouts = {"timeout": {"connect": connect_seconds}}
        self._transports: dict[tuple[bool, bool], AiohttpTransport] = {}
        self._proxied = bool(getproxies())

    async def post(self, candidate: Candidate, to: Address, body: bytes) -> httpx.Response:
        """Sends JSON and returns once the head of the reply is there; the caller closes it. Raises CandidateFailed."""
        headers = [(b"content-type", b"application/json"), *to.headers]
        try:
            return await self._send(candidate, httpx.Request("POST", to.url, headers=headers, content=body))
        except Dropped:
            # Most likely a kept connection that the server closed as we wrote. A model call changes nothing: ask anew.
            return await self._send_once_more(candidate, httpx.Request("POST", to.url, headers=headers, content=body))

    async def get(self, candidate: Candidate, to: Address) -> httpx.Response:
        """Asks for a page; the caller closes the reply. Raises CandidateFailed."""
        return await self._send_once_more(candidate, httpx.Request("GET", to.url, headers=to.headers))

    async def close(self) -> None:
        """Closes every connection. Idempotent."""
        while self._transports:
            _, transport = self._transports.popitem()
            await transport.aclose()

    async def _send(self, candidate: Candidate, request: httpx.Request) -> httpx.Response:
        request.extensions = self._timeouts
        request.headers.encoding = "ascii"  # else it is guessed, for every header of every request
        try:
            return await self._transport(request.url).handle_async_request(request)
        except (httpx.TransportError, aiohttp.ClientError) as error:
            if isinstance(error.__cause__, aiohttp.ServerDisconnectedError | aiohttp.ClientConnectionResetError):
                raise Dropped from error
            raise unreachable(candidate, error) from error

    async def _send_once_more(self, candidate: Candidate, request: httpx.Request) -> httpx.Response:
        try:
            return await self._send(candidate, request)
        except Dropped as error:
            raise failed(candidate, Unavailable, "closed the connection without an answer") from error

    def _transport(self, url: httpx.URL) -> AiohttpTransport:
        way = (url.scheme == "https", self._proxied and url.host not in LOOPBACK)
        transport = self._transports.get(way)
        if transport is None:
            transport = self._transports[way] = open_transport(*way)
        return transport


class Dropped(Exception):
    """The server closed the connection before any answer. Handled in this module."""


def open_transport(secure: bool, through_proxy: bool) -> AiohttpTransport:
    """A pool of connections without bound (admission bounds the calls) and without cookies."""
    context = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=context)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=through_proxy)
    return AiohttpTransport(verify=context, client=session)


async def chunks(candidate: Candidate, response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body's bytes as they arrive. Raises CandidateFailed where the connection breaks."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        async for chunk in response.stream:
            yield chunk
    except (httpx.TransportError, aiohttp.ClientError) as error:
        raise failed(candidate, Unavailable, "broke off in mid-reply") from error


async def error_body(candidate: Candidate, response: httpx.Response) -> bytes:
    """The body of a refusal, as far as it comes: its first 64 KiB."""
    body = b""
    try:
        async for chunk in chunks(candidate, response):
            body += chunk
            if len(body) >= ERROR_BODY_LIMIT:
                break
    except CandidateFailed:
        pass  # the status says enough
    return body[:ERROR_BODY_LIMIT]


def unreachable(candidate: Candidate, error: Exception) -> CandidateFailed:
    """Names why no answer began. The transport's own classes are not used: it reports a refusal as a timeout."""
    cause = error.__cause__ or error
    for kinds, reason in REASONS.items():
        if isinstance(cause, kinds):
            return failed(candidate, Unavailable, reason, advice=candidate.advice)
    if isinstance(cause, aiohttp.ServerTimeoutError):
        return failed(candidate, TimedOut, "did not accept a connection in time", advice=candidate.advice)
    return failed(candidate, Unavailable, f"could not be asked ({type(cause).__name__})", advice=candidate.advice)


REASONS: Mapping[tuple[type[Exception], ...], str] = {
    (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError): "showed no certificate that is trusted",
    (aiohttp.ClientConnectorDNSError,): "has a host name that nobody knows",
    (aiohttp.ClientConnectorError,): "refused the connection",
    (aiohttp.ClientResponseError,): "does not speak HTTP",
}
