"""What a webhook tool sends: the request that a call's arguments make of its declaration. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote, urlsplit

import orjson
from pydantic import JsonValue
from yarl import URL

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.agent_tools import WebhookTool
from astromesh_core.resources.placeholders import Left, as_text, filled, filled_text
from astromesh_core.resources.secrets import resolve, resolved_values
from astromesh_core.resources.webhook_tool import BODILESS, Auth, BasicAuth, BearerAuth

SHORTEST_SECRET = 6
"""Characters: a shorter value is not looked for in answers, where it would stand by chance."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request, ready to be sent. `secrets` are the values in it that nobody may read in an answer or an error."""

    method: str
    url: URL
    headers: dict[str, str]
    body: bytes | None
    secrets: tuple[str, ...]

    def elsewhere(self, url: URL) -> WebhookRequest:
        """The same request at another address; another server is not told what the first one was to be told alone."""
        headers = self.headers if url.origin() == self.url.origin() else {}
        return WebhookRequest(self.method, url, headers, self.body, self.secrets)


def request_of(
    declared: WebhookTool, arguments: Mapping[str, JsonValue], environ: Mapping[str, str], idempotency_key: str
) -> WebhookRequest:
    """The request that a call makes.

    Raises InvalidInput for arguments that would lead to another place, and for a value of the environment that is unset
    or no header; NotSupported for a secret that cannot be read.
    """
    arguments = declared.with_defaults(arguments, declared.parameters)
    headers = {name: resolve(text, environ) for name, text in declared.headers.items()}
    headers |= authorization(declared.auth, environ)
    check_lines(headers)
    url = _address(declared, arguments, environ)
    body = None
    if declared.method not in BODILESS:
        content = dict(arguments) if declared.body is None else filled(declared.body, arguments)
        headers, body = _body(headers, {} if isinstance(content, Left) else content)
    if declared.effect != "read":
        headers["Idempotency-Key"] = idempotency_key
    hidden = {text for text in _hidden(declared, environ) if len(text) >= SHORTEST_SECRET}
    # The longest first: one may stand within another.
    return WebhookRequest(declared.method, url, headers, body, tuple(sorted(hidden, key=len, reverse=True)))


def _address(declared: WebhookTool, arguments: Mapping[str, JsonValue], environ: Mapping[str, str]) -> URL:
    text = filled_text(declared.endpoint, arguments, lambda value: quote(value, safe=""))
    # A resource whose address might be left out is refused when it is loaded.
    assert not isinstance(text, Left)
    _check_path(declared.endpoint, text)
    url = URL(resolve(text, environ), encoded=True)
    asked = filled({**declared.query}, arguments)
    query = cast("dict[str, JsonValue]", asked) if isinstance(asked, dict) else {}
    if declared.method in BODILESS and not declared.query and "{{" not in declared.endpoint:
        query = dict(arguments)
    return url.extend_query({name: as_text(value) for name, value in query.items()}) if query else url


def _check_path(declared: str, filled: str) -> None:
    """Raises InvalidInput where an argument leaves its part of the path, or leaves that empty: `/orders/{{ id }}` with
    `..` or nothing is the address of something else."""
    parts = zip(urlsplit(declared).path.split("/"), urlsplit(filled).path.split("/"), strict=True)
    for place, text in parts:
        if "{{" in place and text in ("", ".", ".."):
            raise InvalidInput(f"the address has {place}, which {text or 'nothing'!r} cannot fill")


def check_lines(headers: Mapping[str, str]) -> None:
    """Raises InvalidInput for a value that would be more than one line of a request."""
    for name, text in headers.items():
        if "\r" in text or "\n" in text or "\0" in text:
            raise InvalidInput(f"the value for the header {name} has a line break; take it out of the environment's")


def _body(headers: dict[str, str], content: JsonValue) -> tuple[dict[str, str], bytes]:
    given = {name.lower() for name in headers}
    kind = "text/plain; charset=utf-8" if isinstance(content, str) else "application/json"
    body = content.encode() if isinstance(content, str) else orjson.dumps(content)
    return (headers if "content-type" in given else {**headers, "Content-Type": kind}), body


def authorization(auth: Auth | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The header that shows who asks. Raises InvalidInput for a variable that is unset, NotSupported for a secret that
    cannot be read."""
    match auth:
        case None:
            return {}
        case BearerAuth():
            return {"Authorization": f"Bearer {resolve(auth.token, environ)}"}
        case BasicAuth():
            pair = f"{resolve(auth.username, environ)}:{resolve(auth.password, environ)}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        case _:
            return {auth.name: resolve(auth.value, environ)}


def _hidden(declared: WebhookTool, environ: Mapping[str, str]) -> Iterator[str]:
    """What an answer may repeat and nobody may read: what the environment gave for headers, address and auth."""
    for text in declared.headers.values():
        yield from resolved_values(text, environ)
    # Which server it is, is no secret, and links to it are what an answer is made of.
    parts = urlsplit(declared.endpoint)
    yield from (value for value in resolved_values(f"{parts.path}?{parts.query}", environ) if "://" not in value)
    match declared.auth:
        case None:
            pass
        case BearerAuth():
            yield resolve(declared.auth.token, environ)
        case BasicAuth():
            yield resolve(declared.auth.password, environ)
            yield from (header.removeprefix("Basic ") for header in authorization(declared.auth, environ).values())
        case _:
            yield resolve(declared.auth.value, environ)
