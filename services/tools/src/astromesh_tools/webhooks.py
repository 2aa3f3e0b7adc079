"""Tools that are HTTP endpoints.

What an answer means: 2xx is success, 4xx a definite answer that the model may work with, 429, 501 and 503 a definite
failure. Where the server broke or a gateway gave up (408 and every other 5xx), what was sent is answered by another
page (302, 303), the connection broke or time ran out after the request was sent, nobody knows what was done: a read
failed, anything else has an open outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson
from pydantic import JsonValue
from yarl import URL

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, Failure, ToolResult, ToolSpec
from astromesh_core.errors import AstromeshError, InvalidInput, LimitExceeded, RateLimited, TimedOut, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_core.outbound import Outbound, check_target
from astromesh_core.resources.agent_tools import WebhookTool as Declared
from astromesh_core.resources.webhook_tool import selection
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.functions import EFFECTS
from astromesh_tools.metered import metered
from astromesh_tools.results import render
from astromesh_tools.webhook_requests import WebhookRequest, request_of

if TYPE_CHECKING:
    from astromesh_tools.tool import Clock, Invocation

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of an answer's body: what is selected from it may be much smaller."""

_AT_ONCE_BYTES: Final = 16 * 1024
"""Of a body that is read on the event loop; a larger one is, in a thread."""

MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_ELSEWHERE: Final = frozenset((302, 303))
"""How many servers answer a form that they took (RFC 9110, 15.4.4); 301, 307 and 308 say that nobody took it."""

_REFUSED: Final = frozenset((501, 503))
"""Of 5xx, those by which a server says that it did not take the request (RFC 9110, 15.6.2 and 15.6.4)."""

_LONGEST_REASON: Final = 500

Make = Callable[[Mapping[str, JsonValue], Mapping[str, str], str], WebhookRequest]
"""The request of a call: of its arguments, the environment, and its idempotency key."""


class WebhookTool:
    """One endpoint, as an agent's tool."""

    def __init__(
        self,
        declared: Declared,
        outbound: Outbound,
        environ: Mapping[str, str],
        clock: Clock,
        *,
        spec: ToolSpec | None = None,
        make: Make | None = None,
    ) -> None:
        """`spec` and `make`, where the catalogue has it otherwise and a request is made in another way."""
        self._declared = declared
        self._make = make or partial(request_of, declared)
        self._outbound = outbound
        self._environ = environ
        self._clock = clock
        self._schema = (
            ArgumentsSchema(declared.parameters) if spec is None else ArgumentsSchema.of_text(spec.parameters_json)
        )
        self._select = selection(declared.response.select) if declared.response.select else None
        host = URL(declared.endpoint.replace("{{", "").replace("}}", "")).host or "an endpoint"
        self.spec = spec or ToolSpec(
            name=declared.name,
            description=declared.description or f"Asks {host}.",
            parameters_json=self._schema.text,
            effect=EFFECTS[declared.effect],
            timeout_ms=round(declared.timeout_seconds * 1000),
            type="webhook",
        )

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Sends the request. See the module for what each ending means."""
        try:
            invocation.check_start(self.spec.name, self._clock())
            arguments = self._schema.read(invocation.arguments)
            request = self._make(arguments, self._environ, invocation.idempotency_key)
            check_target(request.url, allow_private=self._declared.allow_private)
        except AstromeshError as error:
            return failure_of(error)
        try:
            async with asyncio.timeout(self._declared.timeout_seconds):
                return await self._sent(request, invocation)
        except _NotSent as error:
            return failure_of(error.reason)
        except TimeoutError:
            overran = TimedOut(f"{self.spec.name} did not answer within {self._declared.timeout_seconds:g} s")
            return self._open(overran)
        except (aiohttp.ClientError, OSError) as error:
            return self._open(Unavailable(f"{self.spec.name}: the connection broke: {type(error).__name__}"))

    async def _sent(self, request: WebhookRequest, invocation: Invocation) -> ToolResult | Failure:
        # A kept connection may be closed by its server just when a request is sent, and nobody knows whether it was
        # read: a read is sent again, anything else goes out on a connection of its own.
        reads = self.spec.effect == TOOL_EFFECT_KIND_READ
        session = self._outbound.session(allow_private=self._declared.allow_private, kept=reads)
        for _ in range(MOST_REDIRECTS + 1):
            try:
                response = await session.request(
                    request.method, request.url, headers=request.headers, data=request.body, allow_redirects=False
                )
            except AstromeshError as error:
                raise _NotSent(error) from error
            except aiohttp.ConnectionTimeoutError as error:
                raise _NotSent(TimedOut(f"{self.spec.name}: no connection to {request.url.host} in time")) from error
            except aiohttp.ClientConnectorError as error:
                reason = f"{self.spec.name}: no connection to {request.url.host}: {_reason(error)}"
                raise _NotSent(Unavailable(reason)) from error
            async with response:
                if response.status not in _REDIRECTS:
                    return await self._judged(response, request, invocation)
                request = request.elsewhere(self._target(response, request))
        return failure_of(InvalidInput(f"{self.spec.name} is redirected more than {MOST_REDIRECTS} times"))

    def _target(self, response: aiohttp.ClientResponse, request: WebhookRequest) -> URL:
        try:
            target = request.url.join(URL(response.headers.get("Location", "")))
        except ValueError as error:
            raise self._led_away(response, "what is no address") from error
        if request.method != "GET":
            raise self._led_away(response, target.host or "nowhere")
        if request.url.scheme == "https" and target.scheme != "https":
            raise _NotSent(InvalidInput(f"{self.spec.name} is redirected from https to {target.scheme}"))
        try:
            check_target(target, allow_private=self._declared.allow_private)
        except AstromeshError as error:
            raise _NotSent(error) from error
        return target

    def _led_away(self, response: aiohttp.ClientResponse, whither: str) -> Exception:
        if response.status in _ELSEWHERE and self.spec.effect != TOOL_EFFECT_KIND_READ:
            return Unavailable(f"{self.spec.name} answered {response.status}, redirected to {whither}")
        return _NotSent(InvalidInput(f"{self.spec.name} is redirected to {whither}; declare the address that is meant"))

    async def _judged(
        self, response: aiohttp.ClientResponse, request: WebhookRequest, invocation: Invocation
    ) -> ToolResult | Failure:
        status = response.status
        text = await self._read(response, request)
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return self._result(invocation, text)
        said = f"{self.spec.name} answered {status}: {text[:_LONGEST_REASON]}"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return failure_of(RateLimited(said))
        if status in _REFUSED:
            return failure_of(Unavailable(said))
        if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self._open(Unavailable(said))
        return self._result(invocation, f"{status}: {text}", is_error=True)

    async def _read(self, response: aiohttp.ClientResponse, request: WebhookRequest) -> str:
        """The body as a model reads it, without our secrets, should it repeat them."""
        body = bytearray()
        async for part in response.content.iter_chunked(65_536):
            body += part
            if len(body) > MOST_BYTES:
                return f"[an answer of more than {MOST_BYTES} bytes was left unread]"
        if len(body) <= _AT_ONCE_BYTES:
            text = self._shown(response, bytes(body))
        else:
            text = await asyncio.to_thread(self._shown, response, bytes(body))
        for secret in request.secrets:
            text = text.replace(secret, "[secret]")
        return text

    def _shown(self, response: aiohttp.ClientResponse, body: bytes) -> str:
        kind = response.content_type
        if kind == "application/json" or kind.endswith("+json"):
            try:
                value: JsonValue = orjson.loads(body)
            except orjson.JSONDecodeError:
                return body.decode("utf-8", "replace")
            if self._select is not None and response.status < HTTPStatus.MULTIPLE_CHOICES:
                return self._selected(self._select, value)
            return render(value)
        if body and not (kind.startswith("text/") or kind in ("application/xml", "application/x-www-form-urlencoded")):
            return f"[{len(body)} bytes of {kind}, which a model cannot read]"
        try:
            return body.decode(response.charset or "utf-8", "replace")
        except LookupError:
            return body.decode("utf-8", "replace")

    def _selected(self, select: Callable[[JsonValue], JsonValue], value: JsonValue) -> str:
        try:
            return render(select(metered(value)))
        except LimitExceeded as error:
            return f"[nothing is selected from the answer: {error.message}]"
        except (ValueError, RecursionError):
            return "[nothing can be selected from the answer]"

    def _result(self, invocation: Invocation, text: str, *, is_error: bool = False) -> ToolResult:
        return ToolResult(
            tool_call_id=invocation.call_id, name=self.spec.name, output=text_content(text), is_error=is_error
        )

    def _open(self, error: AstromeshError) -> Failure:
        """Of a read, a failure; of anything else, the open outcome."""
        if self.spec.effect == TOOL_EFFECT_KIND_READ:
            return failure_of(error)
        raise error


class _NotSent(Exception):
    """The request did not reach whom it was for, so nothing was done."""

    def __init__(self, reason: AstromeshError) -> None:
        self.reason = reason


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    return cause.strerror or str(cause) or type(error).__name__
