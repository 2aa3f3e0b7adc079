"""Streams a reply over HTTP in any wire format: written once for all of them. The formats are modules of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Protocol

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.errors import InvalidInput, LimitExceeded, Unavailable
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.addresses import Addresses
from astromesh_router.dialects.decoding import Decoder, JsonObject, Malformed, Reported, error_in, json_object
from astromesh_router.dialects.lines import LineTooLong
from astromesh_router.dialects.port import Delta, Part, Reply
from astromesh_router.dialects.profiles import Profile, profile_of
from astromesh_router.exchange import BrokeOff, Exchange
from astromesh_router.failures import NEVER, CandidateFailed, failed, refused, reported
from astromesh_router.wire import Address, Wire, error_body, next_chunk

DRAIN_SECONDS = 0.25
"""How long the body's end is awaited after the reply's, so that the connection can be kept."""

USAGE_SECONDS = 2.0
"""How long the usage and the mark of the end are awaited after a reply's finish reason: some servers send neither."""

LIST_LIMIT = 4 * 1024 * 1024
OK = 200
REDIRECTED = 300
NO_SUCH_PAGE = 404
AT_WORK: list[Delta] = [""]
"""What bytes of a reply are worth that bring no delta."""

NO_API = "check the endpoint: it may lack a part of its path, or stand behind a page to sign in"
WORDLESS_LIMIT = 16 * 1024 * 1024
"""Bytes without a word between them: beyond it the reply is taken to have no end. Memory is bounded by it."""

FIRST_BYTES = 64 * 1024
"""Of a body are kept until a reply begins: what is no stream may be an error."""

UNREADABLE = (Malformed, LineTooLong, Reported)


class WireFormat(Protocol):
    """How one kind of server is asked and read; the profile says where a vendor differs."""

    def body(self, candidate: Candidate, request: CompleteRequest, prefill: str) -> bytes:
        """The request's JSON. Raises CandidateFailed for what the candidate cannot be asked."""
        ...

    def decoder(self, profile: Profile) -> Decoder:
        """A fresh reader of one reply."""
        ...

    def models(self, body: JsonObject) -> list[str]:
        """The names in a list of models."""
        ...


class HttpDialect:
    """A dialect over HTTP. Keys are looked up in `environ` at each call."""

    def __init__(self, wire: Wire, wire_format: WireFormat, environ: Mapping[str, str]) -> None:
        self._wire = wire
        self._format = wire_format
        self._addresses = Addresses(environ)

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        profile = profile_of(candidate)
        to = self._addresses.chat(candidate, profile)
        exchange = await self._wire.post(candidate, to, self._format.body(candidate, request, prefill))
        try:
            if exchange.status != OK:
                raise await refusal(candidate, exchange, to)
            if exchange.header("content-type").startswith("text/html"):
                raise failed(candidate, Unavailable, "answered with a web page", advice=NO_API, passes_in=NEVER)
            if prefill and profile.continuing_server not in exchange.header("server"):
                raise failed(candidate, InvalidInput, "does not go on with an answer that has begun")
            reading = Reading(candidate, self._format.decoder(profile), to)
            while not reading.decoder.done and (chunk := await reading.next(exchange)) is not None:
                for delta in reading.take(chunk):
                    yield delta
                if not chunk:
                    break
            reply = reading.whole()
            if reading.decoder.done and not exchange.ended:
                await drain(exchange)
            yield reply
        finally:
            await exchange.close()

    async def models(self, candidate: Candidate) -> list[str]:
        profile = profile_of(candidate)
        if candidate.health_path:
            return await self._declared_health(candidate, profile)
        if profile.health_path:
            await self._check_health(candidate, profile)
        to = self._addresses.models(candidate, profile)
        exchange = await self._wire.get(candidate, to)
        try:
            if exchange.status != OK:
                raise await refusal(candidate, exchange, to)
            listed = self._format.models(json_object(await whole_body(candidate, exchange)))
            return listed if profile.lists_models else []
        except Malformed as error:
            raise failed(candidate, Unavailable, str(error), advice="check the endpoint") from error
        finally:
            await exchange.close()

    async def _declared_health(self, candidate: Candidate, profile: Profile) -> list[str]:
        """The models that the declared page lists, if it is a list. Raises CandidateFailed where it is not 2xx."""
        to = self._addresses.health(candidate, profile)
        exchange = await self._wire.get(candidate, to)
        try:
            if not OK <= exchange.status < REDIRECTED:
                raise await refusal(candidate, exchange, to)
            listed = self._format.models(json_object(await whole_body(candidate, exchange)))
            return listed if profile.lists_models else []
        except Malformed:
            return []
        finally:
            await exchange.close()

    async def _check_health(self, candidate: Candidate, profile: Profile) -> None:
        """Raises CandidateFailed where the server says that it is not well. Some have no such page."""
        to = self._addresses.health(candidate, profile)
        exchange = await self._wire.get(candidate, to)
        try:
            if exchange.status not in {OK, NO_SUCH_PAGE}:
                raise await refusal(candidate, exchange, to)
            await drain(exchange)
        finally:
            await exchange.close()


class Reading:
    """One reply as it is read, and what it says where it is none."""

    def __init__(self, candidate: Candidate, decoder: Decoder, sender: Address) -> None:
        self.decoder = decoder
        self._candidate = candidate
        self._sender = sender
        self._first = b""
        self._silent = True
        self._wordless = 0
        self._until = 0.0
        """When, by the loop's clock, the end of a reply that is finished is awaited no longer."""

    async def next(self, exchange: Exchange) -> bytes | None:
        """The body's next bytes; None where the connection breaks, or its end stays away, and the reply was whole.

        Raises CandidateFailed.
        """
        if self.decoder.finished:
            # Sooner than silence would fail the call; and heartbeats are no end.
            patience = min(USAGE_SECONDS, self._candidate.patience.between_tokens / 2)
            self._until = self._until or asyncio.get_running_loop().time() + patience
            with suppress(TimeoutError, CandidateFailed):
                async with asyncio.timeout_at(self._until):
                    return await next_chunk(self._candidate, exchange)
            return None
        try:
            return await next_chunk(self._candidate, exchange)
        except CandidateFailed:
            try:
                self.decoder.reply()
            except UNREADABLE:
                pass
            else:
                return None
            raise

    def take(self, chunk: bytes) -> list[Delta]:
        """The deltas that the body's next bytes bring; no bytes mean its end. Raises CandidateFailed."""
        self._silent = self._silent and not chunk
        try:
            deltas = self.decoder.feed(chunk) if chunk else self.decoder.finish()
        except UNREADABLE as error:
            raise unreadable(self._candidate, error, self._sender) from error
        if deltas:
            self._wordless = 0
            return deltas
        self._wordless += len(chunk)
        if self._wordless > WORDLESS_LIMIT:
            raise failed(self._candidate, LimitExceeded, "sent 16 MiB without a word of its reply")
        if self.decoder.begun:
            return AT_WORK
        self._first = (self._first + chunk)[:FIRST_BYTES]
        return []

    def whole(self) -> Reply:
        """The reply that was read. Raises CandidateFailed where it is not complete."""
        try:
            return self.decoder.reply()
        except UNREADABLE as error:
            silence = profile_of(self._candidate).silence if self._silent else ""
            if silence:
                raise failed(self._candidate, InvalidInput, "sent nothing", advice=silence) from error
            said = error_in(self._first)
            raise unreadable(self._candidate, said if said else error, self._sender) from error


def unreadable(candidate: Candidate, error: Exception, sender: Address) -> CandidateFailed:
    """The failure that a decoder's complaint means."""
    if isinstance(error, Reported):
        return reported(candidate, sender.without_key(str(error)), error.code)
    if isinstance(error, LineTooLong):
        return failed(candidate, Unavailable, "sent a line without end", advice=NO_API, passes_in=NEVER)
    return failed(candidate, Unavailable, str(error), advice="check that the endpoint is right")


async def drain(exchange: Exchange) -> None:
    """Reads to the end of a body that should be at its end."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while await exchange.read():
                pass
    except (TimeoutError, BrokeOff):
        pass  # the reply is complete; only the connection is lost


async def refusal(candidate: Candidate, exchange: Exchange, sender: Address) -> CandidateFailed:
    """The failure that a status other than 200 means."""
    said = error_in(await error_body(exchange))
    text = sender.without_key(str(said))
    return refused(candidate, exchange.status, text, said.code, exchange.header("retry-after"))


async def whole_body(candidate: Candidate, exchange: Exchange) -> bytes:
    """A body of at most 4 MiB. Raises CandidateFailed, Malformed."""
    body = b""
    while chunk := await next_chunk(candidate, exchange):
        body += chunk
        if len(body) > LIST_LIMIT:
            raise Malformed("sent a list without end")
    return body
