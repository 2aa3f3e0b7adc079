"""HTTP to model servers through the proxies that the environment names, by httpx on aiohttp's transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from astromesh_router.exchange import BrokeOff, Dropped, NotInTime, NoTls, Request, UnknownHost, Unreachable, Untrusted
from astromesh_router.idle import KEEP_ALIVE_SECONDS


class ProxiedCarrier:
    """Connections through proxies. Made inside a running loop."""

    def __init__(self, connect_seconds: float) -> None:
        self._timeouts = {"timeout": {"connect": connect_seconds}}
        context = httpx.create_ssl_context()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=context)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True)
        self._transport = AiohttpTransport(verify=context, client=session)

    async def send(self, request: Request) -> _Response:
        """See Carrier.send."""
        method = "GET" if request.body is None else "POST"
        asked = httpx.Request(method, request.url, headers=request.headers, content=request.body)
        asked.extensions = self._timeouts
        try:
            return _Response(await self._transport.handle_async_request(asked))
        except (httpx.TransportError, aiohttp.ClientError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientConnectionResetError):
                raise Dropped(kept=True) from error
            raise _unreachable(cause) from error

    async def close(self) -> None:
        """See Carrier.close."""
        await self._transport.aclose()


class _Response:
    """An Exchange over httpx's response."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._chunks: AsyncIterator[bytes] = aiter(response.stream)
        self.ended = False

    @property
    def status(self) -> int:
        """See Exchange.status."""
        return self._response.status_code

    def header(self, name: str) -> str:
        """See Exchange.header."""
        return self._response.headers.get(name, "")

    async def read(self) -> bytes:
        """See Exchange.read."""
        try:
            chunk = await anext(self._chunks, b"")
        except (httpx.TransportError, aiohttp.ClientError) as error:
            raise BrokeOff from error
        self.ended = not chunk
        return chunk

    async def close(self) -> None:
        """See Exchange.close."""
        await self._response.aclose()


def _unreachable(cause: BaseException) -> Unreachable:
    # The transport's own classes are not used: it reports a refusal as a timeout.
    if isinstance(cause, aiohttp.ServerTimeoutError):
        return NotInTime("did not accept a connection in time")
    for kinds, unreachable, reason in _REASONS:
        if isinstance(cause, kinds):
            return unreachable(reason)
    return Unreachable(f"could not be asked ({type(cause).__name__})")


_REASONS: tuple[tuple[tuple[type[BaseException], ...], type[Unreachable], str], ...] = (
    ((aiohttp.ClientConnectorCertificateError,), Untrusted, "showed a certificate that is not trusted"),
    ((aiohttp.ClientConnectorSSLError,), NoTls, "does not speak TLS"),
    ((aiohttp.ClientConnectorDNSError,), UnknownHost, "has a host name that nobody knows"),
    ((aiohttp.ClientConnectorError,), Unreachable, "refused the connection"),
    ((aiohttp.ClientResponseError,), Unreachable, "does not speak HTTP"),
)
