"""Streams a reply over HTTP in any wire format: written once for all of them. The formats are modules of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Protocol

import httpx

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.errors import AstromeshError, RateLimited, Unavailable
from astromesh_core.resources.secrets import resolve
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.decoding import Decoder, JsonObject, Malformed, Reported, error_in, json_object
from astromesh_router.dialects.lines import LineTooLong
from astromesh_router.dialects.port import Part
from astromesh_router.failures import SHOWN, CandidateFailed, failed, refused
from astromesh_router.wire import Address, Wire, address, chunks, error_body

DRAIN_SECONDS = 0.25
"""How long the body's end is awaited after the reply's, so that the connection can be kept."""

LIST_LIMIT = 4 * 1024 * 1024


class WireFormat(Protocol):
    """How one kind of server is asked and read."""

    chat_path: str
    models_path: str

    def body(self, candidate: Candidate, request: CompleteRequest) -> bytes: ...
    def decoder(self) -> Decoder: ...
    def models(self, body: JsonObject) -> list[str]: ...


class HttpDialect:
    """A dialect over HTTP. Keys are looked up in `environ` at each call."""

    def __init__(self, wire: Wire, wire_format: WireFormat, environ: Mapping[str, str]) -> None:
        self._wire = wire
        self._format = wire_format
        self._environ = environ

    async def stream(self, candidate: Candidate, request: CompleteRequest) -> AsyncGenerator[Part, None]:
        to = self._address(candidate, self._format.chat_path)
        response = await self._wire.post(candidate, to, self._format.body(candidate, request))
        try:
            if response.status_code != 200:
                raise await refusal(candidate, response, to)
            async with aclosing(decoded(candidate, response, self._format.decoder(), to)) as parts:
                async for part in parts:
                    yield part
        finally:
            await response.aclose()

    async def models(self, candidate: Candidate) -> list[str]:
        to = self._address(candidate, self._format.models_path)
        response = await self._wire.get(candidate, to)
        try:
            if response.status_code != 200:
                raise await refusal(candidate, response, to)
            return self._format.models(json_object(await whole_body(candidate, response)))
        except Malformed as error:
            raise failed(candidate, Unavailable, str(error), advice="check the endpoint") from error
        finally:
            await response.aclose()

    def _address(self, candidate: Candidate, path: str) -> Address:
        try:
            endpoint = resolve(candidate.endpoint, self._environ).rstrip("/")
            key = resolve(candidate.key, self._environ) if candidate.key else ""
        except AstromeshError as error:
            raise failed(candidate, type(error), error.message) from error
        return address(candidate, endpoint + path, key)


async def decoded(
    candidate: Candidate, response: httpx.Response, decoder: Decoder, sender: Address
) -> AsyncGenerator[Part, None]:
    """Deltas as their bytes arrive, then the reply. Raises CandidateFailed."""
    async with aclosing(chunks(candidate, response)) as body:
        try:
            async for chunk in body:
                yield decoder.feed(chunk)
                if decoder.done:
                    break
            else:
                yield decoder.finish()
            reply = decoder.reply()
        except Malformed as error:
            raise failed(candidate, Unavailable, str(error), advice="check that the endpoint is right") from error
        except LineTooLong as error:
            raise failed(candidate, Unavailable, "sent a line without end") from error
        except Reported as error:
            raise broke_off(candidate, sender.without_key(str(error)), error.code) from error
        await drain(body)
    yield reply


async def drain(body: AsyncGenerator[bytes, None]) -> None:
    """Reads to the end of a body that should be at its end."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in body:
                pass
    except (TimeoutError, CandidateFailed):
        pass  # the reply is complete; only the connection is lost


async def refusal(candidate: Candidate, response: httpx.Response, sender: Address) -> CandidateFailed:
    """The failure that a status other than 200 means."""
    said = error_in(await error_body(candidate, response))
    text = sender.without_key(str(said))
    return refused(candidate, response.status_code, text, said.code, response.headers.get("retry-after", ""))


def broke_off(candidate: Candidate, text: str, code: str) -> CandidateFailed:
    """The failure that an error reported in mid-stream means."""
    kind = RateLimited if "rate_limit" in code else Unavailable
    return failed(candidate, kind, "reported an error in mid-reply", advice=" ".join(text.split())[:SHOWN])


async def whole_body(candidate: Candidate, response: httpx.Response) -> bytes:
    """A body of at most 4 MiB. Raises CandidateFailed, Malformed."""
    body = b""
    async with aclosing(chunks(candidate, response)) as pieces:
        async for chunk in pieces:
            body += chunk
            if len(body) > LIST_LIMIT:
                raise Malformed("sent a list without end")
    return body
