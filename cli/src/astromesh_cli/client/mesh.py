"""A mesh as its clients reach it: HTTP with a key and a namespace. What a reply means is the commands' matter."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, cast

import httpx
import orjson

from astromesh_cli.client.failures import Refused, Unreachable

if TYPE_CHECKING:
    from pydantic import JsonValue

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE, KEY_VARIABLE = "ASTROMESH_URL", "ASTROMESH_API_KEY"

_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 60.0
"""A stream says at least that it is alive every 15 seconds."""

Query = Mapping[str, str | int | float | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """Which mesh, as whom, in which namespace ("": the key's own)."""

    url: str
    api_key: str = ""
    namespace: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What every request says of its caller."""
        headers = {"User-Agent": "astromesh-cli"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.namespace:
            headers["X-Astromesh-Namespace"] = self.namespace
        return headers


def target_of(url: str = "", namespace: str = "") -> Target:
    """The target of the options given, else of the environment's variables. The key comes from the environment alone:
    a command line is seen by everyone on the machine."""
    address = url or os.environ.get(URL_VARIABLE, "") or DEFAULT_URL
    if "://" not in address:
        address = f"http://{address}"
    return Target(address.rstrip("/"), os.environ.get(KEY_VARIABLE, ""), namespace)


class MeshClient:
    """Requests to one mesh. Every method raises Unreachable where nothing answers, Refused for an error's answer."""

    def __init__(self, target: Target) -> None:
        self.url = target.url
        limits = httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        # A mesh is mostly on this machine: a proxy of the environment would hide it.
        trusted = not target.url.startswith(("http://127.", "http://localhost", "http://[::1]"))
        # Reading the certificates of the world's authorities takes 40 ms, for connections that have none.
        self._http = httpx.Client(
            base_url=target.url, headers=target.headers, timeout=limits, trust_env=trusted, verify=trusted
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, query: Query | None = None) -> object:
        """The document at a path."""
        return _document(self._send(self._http.build_request("GET", path, params=dict(query or {}))))

    def post(self, path: str, body: Mapping[str, JsonValue] | None = None, *, seconds: float = 0.0) -> object:
        """The document that a request answers; `seconds` where it may take longer than a minute."""
        timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS) if seconds else httpx.USE_CLIENT_DEFAULT
        content = orjson.dumps(body or {})
        headers = {"Content-Type": "application/json"}
        return _document(
            self._send(self._http.build_request("POST", path, content=content, headers=headers, timeout=timeout))
        )

    def put(self, path: str, body: Mapping[str, JsonValue]) -> tuple[int, object]:
        """The status and the document after a replacement."""
        headers = {"Content-Type": "application/json"}
        response = self._send(self._http.build_request("PUT", path, content=orjson.dumps(body), headers=headers))
        return response.status_code, _document(response)

    def delete(self, path: str) -> object:
        """Removes what stands at a path; the document that this answers, None where there is none."""
        response = self._send(self._http.build_request("DELETE", path))
        return _document(response) if response.content else None

    def status(self, path: str) -> tuple[int, object]:
        """The status and the document of a path that answers an error with a document of its own, as readiness does."""
        response = self._send(self._http.build_request("GET", path), refuse=False)
        return response.status_code, _document(response)

    @contextmanager
    def stream(
        self, method: str, path: str, *, body: Mapping[str, JsonValue] | None = None, after: str = ""
    ) -> Generator[httpx.Response]:
        """An answer of server-sent events, `after` the event with that id. Raises while it is read too: Unreachable
        where the connection is lost."""
        headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        if after:
            headers["Last-Event-ID"] = after
        content = orjson.dumps(body) if body is not None else None
        try:
            with self._http.stream(method, path, content=content, headers=headers) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _refusal(response)
                yield response
        except httpx.TransportError as error:
            raise Unreachable(self.url, str(error)) from None

    def download(self, path: str, query: Query, file: BinaryIO) -> None:
        """Writes what stands at a path into the file, as it comes."""
        try:
            with self._http.stream("GET", path, params=dict(query)) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _refusal(response)
                for piece in response.iter_bytes():
                    file.write(piece)
        except httpx.TransportError as error:
            raise Unreachable(self.url, str(error)) from None

    def _send(self, request: httpx.Request, *, refuse: bool = True) -> httpx.Response:
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            raise Unreachable(self.url, str(error)) from None
        if refuse and response.status_code >= 400:
            raise _refusal(response)
        return response


def _document(response: httpx.Response) -> object:
    if not response.content:
        return None
    try:
        return cast("object", orjson.loads(response.content))
    except orjson.JSONDecodeError:
        what = response.headers.get("content-type", "no type")
        raise Refused(response.status_code, {"detail": f"{response.url} answered {what} and no JSON"}) from None


def _refusal(response: httpx.Response) -> Refused:
    try:
        document = cast("object", orjson.loads(response.content))
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        document = {"title": response.reason_phrase, "detail": response.text[:500].strip()}
    return Refused(response.status_code, cast("dict[str, JsonValue]", document))
