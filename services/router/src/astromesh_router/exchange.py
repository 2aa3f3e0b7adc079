"""One reply of a model server as its readers see it, and how an exchange fails. Who carries it: `direct`, `proxied`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Protocol


class Request(NamedTuple):
    """What is sent. `headers` are all but the host and the length; a body makes it a POST."""

    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class Exchange(Protocol):
    """A reply whose head is there. Whoever holds it closes it."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the body's end has come: reading to it then waits for nobody."""
        ...

    def header(self, name: str) -> str:
        """A header by its lower-case name; empty where there is none."""
        ...

    async def read(self) -> bytes:
        """The next bytes of the body as they arrive; empty at its end, and whenever asked after that.

        Raises BrokeOff. Not for two readers at once; cancelling it loses nothing.
        """
        ...

    async def close(self) -> None:
        """Gives the connection back where the body was read to its end, else cuts it. Idempotent."""
        ...


class Carrier(Protocol):
    """Sends requests over connections of its own."""

    async def send(self, request: Request) -> Exchange:
        """Returns once the head of the reply is there. Raises Unreachable, Dropped."""
        ...

    async def close(self) -> None:
        """Closes every connection. Idempotent."""
        ...


class Unreachable(Exception):
    """No answer began; the message says why, without quoting anybody."""

    advice: ClassVar[str] = ""
    """What to do, where that is more than to look at the endpoint."""
    passes: ClassVar[bool] = True
    """Whether it may go well soon, with nothing changed."""


class NotInTime(Unreachable):
    """The server did not accept a connection in time. Asking once more would take as long again."""

    passes = False


class Untrusted(Unreachable):
    """The server's certificate cannot be checked, or is not for this host."""

    advice = "check the endpoint, or name the issuer's certificate in SSL_CERT_FILE"
    passes = False


class NoTls(Unreachable):
    """What answers at an https endpoint is no TLS."""

    advice = "check the endpoint's port, or write http:// if it has no TLS"
    passes = False


class UnknownHost(Unreachable):
    """The host has no address."""

    advice = "check the host in its endpoint"
    passes = False


class Dropped(Exception):
    """The server closed the connection before any answer. `kept`: it may be an old one, closed as we wrote."""

    def __init__(self, *, kept: bool) -> None:
        super().__init__()
        self.kept = kept


class BrokeOff(Exception):
    """The connection ended, or brought rubbish, before the body's end."""
