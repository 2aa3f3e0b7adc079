"""Streams a reply over HTTP in any wire format: written once for all of them. The formats are modules of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.errors import AstromeshError, RateLimited, Unavailable
from astromesh_core.resources.secrets import resolve
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.decoding import Decoder, JsonObject, Malformed, Reported, error_in, json_object
from astromesh_router.dialects.lines import LineTooLong
from astromesh_router.dialects.port import Delta, Part, Reply
from astromesh_router.exchange import BrokeOff, Exchange
from astromesh_router.failures import SHOWN, CandidateFailed, failed, refused
from astromesh_router.wire import Address, Wire, address, error_body, next_chunk

DRAIN_SECONDS = 0.25
"""How long the body's end is awaited after the reply's, so that the connection can be kept."""

LIST_LIMIT = 4 * 1024 * 1024
OK = 200
AT_WORK: list[Delta] = [""]
"""What bytes are worth that bring no delta."""

UNREADABLE = (Malformed, LineTooLong, Reported)


class WireFormat(Protocol):
    """How one kind of server is asked and read."""

    chat_path: str
    models_path: str

    def body(self, candidate: Candidate, request: CompleteRequest, prefill: str) -> bytes: ...
    def decoder(self) -> Decoder: ...
    def models(self, body: JsonObject) -> list[str]: ...


class HttpDialect:
    """A dialect over HTTP. Keys are looked up in `environ` at each call."""

    def __init__(self, wire: Wire, wire_format: WireFormat, environ: Mapping[str, str]) -> None:
        self._wire = wire
        self._format = wire_format
        self._environ = environ

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        to = self._address(candidate, self._format.chat_path)
        exchange = await self._wire.post(candidate, to, self._format.body(candidate, request, prefill))
        try:
            if exchange.status != OK:
                raise await refusal(candidate, exchange, to)
            decoder = self._format.decoder()
            while not decoder.done:
                chunk = await next_chunk(candidate, exchange)
                for delta in read(candidate, decoder, chunk, to) or AT_WORK:
                    yield delta
                if not chunk:
                    break
            reply = whole(candidate, decoder, to)
            if not exchange.ended:
                await drain(exchange)
            yield reply
        finally:
            await exchange.close()

    async def models(self, candidate: Candidate) -> list[str]:
        to = self._address(candidate, self._format.models_path)
        exchange = await self._wire.get(candidate, to)
        try:
            if exchange.status != OK:
                raise await refusal(candidate, exchange, to)
            return self._format.models(json_object(await whole_body(candidate, exchange)))
        except Malformed as error:
            raise failed(candidate, Unavailable, str(error), advice="check the endpoint") from error
        finally:
            await exchange.close()

    def _address(self, candidate: Candidate, path: str) -> Address:
        try:
            endpoint = resolve(candidate.endpoint, self._environ).rstrip("/")
            key = resolve(candidate.key, self._environ) if candidate.key else ""
        except AstromeshError as error:
            raise failed(candidate, type(error), error.message) from error
        return address(candidate, endpoint + path, key)


def read(candidate: Candidate, decoder: Decoder, chunk: bytes, sender: Address) -> list[Delta]:
    """The deltas that the body's next bytes bring; none of them means its end. Raises CandidateFailed."""
    try:
        return decoder.feed(chunk) if chunk else decoder.finish()
    except UNREADABLE as error:
        raise unreadable(candidate, error, sender) from error


def whole(candidate: Candidate, decoder: Decoder, sender: Address) -> Reply:
    """The reply that was read. Raises CandidateFailed where it is not complete."""
    try:
        return decoder.reply()
    except UNREADABLE as error:
        raise unreadable(candidate, error, sender) from error


def unreadable(candidate: Candidate, error: Exception, sender: Address) -> CandidateFailed:
    """The failure that a decoder's complaint means."""
    if isinstance(error, Reported):
        return broke_off(candidate, sender.without_key(str(error)), error.code)
    if isinstance(error, LineTooLong):
        return failed(candidate, Unavailable, "sent a line without end")
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


def broke_off(candidate: Candidate, text: str, code: str) -> CandidateFailed:
    """The failure that an error reported in mid-stream means."""
    kind = RateLimited if "rate_limit" in code else Unavailable
    return failed(candidate, kind, "reported an error in mid-reply", advice=" ".join(text.split())[:SHOWN])


async def whole_body(candidate: Candidate, exchange: Exchange) -> bytes:
    """A body of at most 4 MiB. Raises CandidateFailed, Malformed."""
    body = b""
    while chunk := await next_chunk(candidate, exchange):
        body += chunk
        if len(body) > LIST_LIMIT:
            raise Malformed("sent a list without end")
    return body
