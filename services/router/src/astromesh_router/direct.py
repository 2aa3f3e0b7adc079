"""HTTP/1.1 straight to a model server: kept connections, one exchange at a time on each. Proxies are not spoken to.

Written out because a client library's request costs nine times as much: at 64 runs at once that is a tenth of a core.
The wire format is httptools' (llhttp, the parser of Node.js); here is only who reads which bytes, and until when.

idle ──send──▶ waiting ──head──▶ reading ──end──▶ idle (kept) | closed
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import quote, urlsplit

import httptools

from astromesh_router.exchange import (
    BrokeOff,
    Dropped,
    NotInTime,
    NoTls,
    Request,
    UnknownHost,
    Unreachable,
    Untrusted,
)
from astromesh_router.idle import IdleConnections

BUFFERED_BYTES = 1 << 20
"""Of a body that nobody reads; beyond it the server has to wait."""

_PORTS = {"http": 80, "https": 443}
_FIRST_FINAL_STATUS = 200
_LONGEST_HEAD = 256 * 1024


class Origin(NamedTuple):
    """What a connection leads to."""

    host: str
    port: int
    secure: bool


class Place(NamedTuple):
    """A URL taken apart: the target stands in the request's first line, the authority in its Host header."""

    origin: Origin
    target: str
    authority: str


@lru_cache(maxsize=1024)
def place_of(url: str) -> Place:
    """Takes an http or https URL apart; the few endpoints of a mesh are parsed once. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an http or https URL")
    if "@" in parts.netloc:
        raise ValueError("a URL with a user name or a password: name the key in api_key_env")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("a URL holds no spaces and no control characters")
    port = parts.port or _PORTS[parts.scheme]
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    name = f"[{host}]" if ":" in host else host
    authority = name if port == _PORTS[parts.scheme] else f"{name}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    return Place(Origin(host, port, parts.scheme == "https"), path + query, authority)


class DirectCarrier:
    """Connections to any number of servers, used again where they are idle. Those in use are not bounded: admission
    bounds the calls."""

    def __init__(
        self,
        connect_seconds: float,
        make_context: Callable[[], ssl.SSLContext],
        idle: IdleConnections[Origin, _Connection] | None = None,
    ) -> None:
        """`make_context` is called once, in a thread, at the first https request."""
        self._connect_seconds = connect_seconds
        self._make_context = make_context
        self._context: ssl.SSLContext | None = None
        self._idle = idle or IdleConnections()
        self._open: set[_Connection] = set()

    async def send(self, request: Request) -> _Connection:
        """See Carrier.send."""
        place = place_of(request.url)
        connection = self._idle.take(place.origin) or await self._connect(place.origin)
        try:
            await connection.exchange(_written(place, request))
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Closes every connection, those in use too."""
        for connection in list(self._open):
            connection.cut()
        self._idle.clear()
        # One step, in which the loop closes them.
        await asyncio.sleep(0)

    def opened(self, connection: _Connection) -> None:
        """A connection stands."""
        self._open.add(connection)

    def keep(self, connection: _Connection) -> None:
        """Takes a connection back."""
        self._idle.put(connection.origin, connection)

    def forget(self, connection: _Connection) -> None:
        """A connection is closed."""
        self._open.discard(connection)

    async def _connect(self, origin: Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        if origin.secure and self._context is None:
            self._context = await asyncio.to_thread(self._make_context)
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, origin),
                    origin.host,
                    origin.port,
                    ssl=self._context if origin.secure else None,
                )
        except (OSError, UnicodeError) as error:
            raise _unreachable(error) from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection and the exchange on it; an Exchange once the head is there."""

    def __init__(self, carrier: DirectCarrier, origin: Origin) -> None:
        self.origin = origin
        self.status = 0
        self._carrier = carrier
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._kept = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._has_head = False
        self._ended = False
        self._keeps = False
        self._broken = False
        self._heard = False
        self._body: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False

    # -- for the carrier -----------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on this idle connection."""
        return self._transport is not None and not self._transport.is_closing() and not self._heard

    async def exchange(self, request: bytes) -> None:
        """Sends a request; returns when the head of its reply is there."""
        if self._transport is None or self._transport.is_closing():
            raise Dropped(kept=self._kept)
        self._transport.write(request)
        while not self._has_head:
            if self._broken:
                raise Unreachable("does not speak HTTP") if self._heard else Dropped(kept=self._kept)
            await self._something()

    def cut(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- for the reader ------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """See Exchange.ended."""
        return self._ended

    def header(self, name: str) -> str:
        """See Exchange.header."""
        return self._headers.get(name, "")

    async def read(self) -> bytes:
        """See Exchange.read."""
        while not self._body:
            if self._ended:
                return b""
            if self._broken:
                raise BrokeOff
            await self._something()
        chunk = self._body.popleft() if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    async def close(self) -> None:
        """See Exchange.close."""
        if self._transport is None:
            return
        reusable = self._keeps and not self._body and not self._broken
        if not reusable or self._transport.is_closing():
            self.cut()
        elif self._has_head:
            self._begin()
            self._kept = True
            self._carrier.keep(self)

    async def _something(self) -> None:
        """Waits until bytes came or the connection ended."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- for the loop --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        self._carrier.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came; what they mean comes from the parser."""
        self._heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._broken = True
        if not self._has_head:
            self._head_bytes += len(data)
            self._broken = self._broken or self._head_bytes > _LONGEST_HEAD
        if self._buffered > BUFFERED_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended. A body without a length ends with it."""
        del exc
        unframed = not ("content-length" in self._headers or "transfer-encoding" in self._headers)
        if self._has_head and not self._ended and unframed and not self._broken:
            self._ended = True
        elif not self._ended:
            self._broken = True
        self._transport = None
        self._carrier.forget(self)
        self._wake()

    # -- for the parser ------------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if not self._has_head:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is there; an interim one (1xx) is passed over."""
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL_STATUS:
            self.status, self._has_head = status, True
        else:
            self._headers.clear()

    def on_body(self, data: bytes) -> None:
        """Bytes of the body."""
        self._body.append(data)
        self._buffered += len(data)

    def on_message_complete(self) -> None:
        """The end of the body; after a 1xx, the head is still to come."""
        if self._has_head:
            self._ended, self._keeps = True, self._parser.should_keep_alive()


def _written(place: Place, request: Request) -> bytes:
    body = request.body
    first = f"{'GET' if body is None else 'POST'} {place.target} HTTP/1.1\r\nhost: {place.authority}\r\n"
    length = "" if body is None else f"content-length: {len(body)}\r\n"
    headers = "".join([f"{name}: {value}\r\n" for name, value in request.headers.items()])
    return f"{first}{headers}{length}\r\n".encode("latin-1") + (body or b"")


def _unreachable(error: OSError | UnicodeError) -> Unreachable:
    """Why no connection stands."""
    if isinstance(error, TimeoutError):
        return NotInTime("did not accept a connection in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(f"showed a certificate that is not trusted ({error.verify_message})")
    if isinstance(error, ssl.SSLError):
        return NoTls("does not speak TLS")
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return Unreachable("has a host name that no name server could look up")
    if isinstance(error, socket.gaierror | UnicodeError):
        return UnknownHost("has a host name that nobody knows")
    return Unreachable("refused the connection")
