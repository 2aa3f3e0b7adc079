"""HTTP to model servers: no cookies, no redirects, failures named. Formats stand in `dialects`, connections in `direct`
(and in `proxied`, where the environment names a proxy)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import getproxies

from astromesh_core.errors import InvalidInput, TimedOut, Unavailable
from astromesh_router.candidates import Candidate
from astromesh_router.direct import DirectCarrier, place_of
from astromesh_router.exchange import BrokeOff, Carrier, Dropped, Exchange, NotInTime, Request, Unreachable
from astromesh_router.failures import NEVER, failed

HEADERS = {
    "accept-encoding": "identity",  # deltas must not wait in a compressor
    "user-agent": "astromesh",
}
ERROR_BODY_LIMIT = 64 * 1024
CONNECTION_PASSES_IN = 0.05
"""Seconds: a server that is restarted, or sheds connections, may take the next one at once."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Address:
    """Where one request goes, with the key that opens it, which is shown nowhere."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    key: str = field(default="", repr=False)

    def without_key(self, text: str) -> str:
        """Takes the key out of a vendor's words: some echo it."""
        return text.replace(self.key, "[key]") if self.key else text


def address(candidate: Candidate, url: str, key: str, headers: Mapping[str, str]) -> Address:
    """Checks a URL and the key that stands in one of the headers. Raises CandidateFailed for what cannot be sent."""
    try:
        place_of(url)
    except ValueError as error:
        raise failed(candidate, InvalidInput, f"the endpoint is {error}", advice="mend endpoint") from error
    if key and not (key.isascii() and key.isprintable()):
        raise failed(candidate, InvalidInput, f"{candidate.key_name} holds more than printable ASCII")
    return Address(url, {**HEADERS, **headers}, key)


class Wire:
    """Sends requests to model servers and hands out their replies as they come.

    Connections are pooled per host and kept alive. Close it when done.
    """

    def __init__(self, connect_seconds: float = 5.0) -> None:
        self._connect_seconds = connect_seconds
        self._direct = DirectCarrier(connect_seconds, trusted)
        self._through_proxies: Carrier | None = None
        self._proxied = bool(getproxies())
        self._making = asyncio.Lock()

    async def post(self, candidate: Candidate, to: Address, body: bytes) -> Exchange:
        """Sends JSON and returns once the head of the reply is there; the caller closes it. Raises CandidateFailed."""
        return await self._send(candidate, Request(to.url, {"content-type": "application/json", **to.headers}, body))

    async def get(self, candidate: Candidate, to: Address) -> Exchange:
        """Asks for a page; the caller closes the reply. Raises CandidateFailed."""
        return await self._send(candidate, Request(to.url, to.headers))

    async def close(self) -> None:
        """Closes every connection. Idempotent."""
        await self._direct.close()
        carrier, self._through_proxies = self._through_proxies, None
        if carrier is not None:
            await carrier.close()

    async def _send(self, candidate: Candidate, request: Request) -> Exchange:
        carrier = await self._carrier(request.url) if self._proxied else self._direct
        try:
            try:
                return await carrier.send(request)
            except Dropped as error:
                if not error.kept:
                    raise
                # A model call changes nothing: asked anew, on another connection.
                return await carrier.send(request)
        except Dropped as error:
            reason = "closed the connection without an answer"
            raise failed(candidate, Unavailable, reason, passes_in=CONNECTION_PASSES_IN) from error
        except Unreachable as error:
            kind = TimedOut if isinstance(error, NotInTime) else Unavailable
            passes_in = CONNECTION_PASSES_IN if error.passes else NEVER
            advice = error.advice or candidate.advice
            raise failed(candidate, kind, str(error), advice=advice, passes_in=passes_in) from error

    async def _carrier(self, url: str) -> Carrier:
        if place_of(url).origin.host in LOOPBACK:
            return self._direct
        async with self._making:
            if self._through_proxies is None:
                # Imported here: most meshes have no proxy, and need neither of its libraries.
                from astromesh_router.proxied import ProxiedCarrier

                self._through_proxies = ProxiedCarrier(self._connect_seconds)
            return self._through_proxies


def trusted() -> ssl.SSLContext:
    """A TLS context that trusts what httpx does. Takes some 20 ms, and imports it."""
    import httpx

    return httpx.create_ssl_context()


async def next_chunk(candidate: Candidate, reply: Exchange) -> bytes:
    """The body's next bytes; empty at its end. Raises CandidateFailed where the connection breaks."""
    try:
        return await reply.read()
    except BrokeOff as error:
        raise failed(candidate, Unavailable, "broke off in mid-reply") from error


async def error_body(reply: Exchange) -> bytes:
    """The body of a refusal, as far as it comes: its first 64 KiB."""
    body = b""
    try:
        while len(body) < ERROR_BODY_LIMIT and (chunk := await reply.read()):
            body += chunk
    except BrokeOff:
        pass  # the status says enough
    return body[:ERROR_BODY_LIMIT]
