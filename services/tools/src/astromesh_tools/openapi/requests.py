"""The request that a call's arguments make of an operation: a webhook's, with a query and headers as OpenAPI writes
them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import urljoin

import orjson
from pydantic import JsonValue, ValidationError

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.agent_tools import OpenapiTool, WebhookTool
from astromesh_core.resources.placeholders import as_text
from astromesh_core.resources.webhook_tool import BODILESS
from astromesh_tools.openapi.operations import BODY, OperationCall, Place
from astromesh_tools.webhook_requests import WebhookRequest, request_of


def endpoint_of(declared: OpenapiTool, call: OperationCall) -> WebhookTool:
    """The operation as a webhook. Raises InvalidInput where nobody says which server it is at."""
    base = declared.base_url or (_joined(declared.spec, call.server) if declared.is_remote else call.server)
    if not base.startswith(("http://", "https://", "${")):
        raise InvalidInput(f"the operation {call.operation}: the document names no server; write base_url")
    try:
        return _endpoint(declared, call, base)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise InvalidInput(f"the operation {call.operation} cannot be called: {reason}") from error


def _joined(spec: str, server: str) -> str:
    try:
        return urljoin(spec, server)
    except ValueError:
        return ""


def _endpoint(declared: OpenapiTool, call: OperationCall, base: str) -> WebhookTool:
    required: list[JsonValue] = [*call.in_path]
    return WebhookTool(
        name=declared.name,
        type="webhook",
        endpoint=f"{base.rstrip('/')}{call.path}",
        method=call.method,
        headers=declared.headers,
        # A webhook without a body sends its arguments.
        body=None if call.method in BODILESS else {},
        auth=declared.auth,
        response=declared.response,
        allow_private=declared.allow_private,
        parameters={"type": "object", "properties": dict.fromkeys(call.in_path, True), "required": required},
        effect=declared.effect_of(call.operation, call.method),
        timeout_seconds=declared.timeout_seconds,
    )


def operation_request(
    call: OperationCall,
    endpoint: WebhookTool,
    arguments: Mapping[str, JsonValue],
    environ: Mapping[str, str],
    idempotency_key: str,
) -> WebhookRequest:
    """The request that a call makes. Raises like `request_of`."""
    in_path = {name: arguments[name] for name in call.in_path}
    request = request_of(endpoint, in_path, environ, idempotency_key)
    headers = {**request.headers, "Accept": "application/json, */*;q=0.5", **_headers(call, arguments)}
    headers.pop("Content-Type", None)
    body = None
    if call.media_type and BODY in arguments:
        headers["Content-Type"], body = call.media_type, orjson.dumps(arguments[BODY])
    pairs = [pair for place in call.query if place.argument in arguments for pair in _pairs(place, arguments)]
    url = request.url.extend_query(pairs) if pairs else request.url
    return replace(request, url=url, headers=headers, body=body)


def _pairs(place: Place, arguments: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    value = arguments[place.argument]
    if isinstance(value, list):
        texts = [as_text(each) for each in value]
        yield from ((place.name, text) for text in ([place.joined_by.join(texts)] if place.joined_by else texts))
    elif isinstance(value, dict) and place.deep:
        yield from ((f"{place.name}[{key}]", as_text(each)) for key, each in value.items())
    elif isinstance(value, dict) and not place.joined_by:
        yield from ((key, as_text(each)) for key, each in value.items())
    elif isinstance(value, dict):
        yield place.name, place.joined_by.join(part for key, each in value.items() for part in (key, as_text(each)))
    elif value is not None:
        yield place.name, as_text(value)


def _headers(call: OperationCall, arguments: Mapping[str, JsonValue]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for place in call.headers:
        value = arguments.get(place.argument)
        if value is None:
            continue
        text = place.joined_by.join(map(as_text, value)) if isinstance(value, list) else as_text(value)
        if not text.isascii() or not text.isprintable():
            raise InvalidInput(f"{place.argument} goes into a header: printable ASCII in one line alone can")
        headers[place.name] = text
    return headers
