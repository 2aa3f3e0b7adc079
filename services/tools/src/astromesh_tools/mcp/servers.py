"""One MCP server as it is reached: an entry of an agent's file with the environment's values in it. Pure.

Entries that come to the same server, in one namespace, share a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from astromesh_core.resources.secrets import resolve, resolved_values
from astromesh_core.resources.webhook_tool import BasicAuth, BearerAuth
from astromesh_tools.webhook_requests import SHORTEST_SECRET, authorization, check_lines

if TYPE_CHECKING:
    from astromesh_core.resources.mcp_tool import McpServer, Transport
    from astromesh_core.resources.webhook_tool import Auth

_LONGEST_REASON: Final = 600


@dataclass(frozen=True)
class Server:
    """How a server is reached. Equal values are the same server."""

    namespace: str
    way: Transport
    shown: str
    """What people are told of it: a program, or a host."""
    command: tuple[str, ...] = field(repr=False)
    environment: tuple[tuple[str, str], ...] = field(repr=False)
    folder: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    allow_private: bool
    connect_seconds: float
    secrets: tuple[str, ...] = field(repr=False, compare=False)

    def without_secrets(self, text: str) -> str:
        """A text of the server's, should it repeat what only it was to be told."""
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        return text

    def told(self, text: str) -> str:
        """A text about the server, or by it, without its secrets and not longer than a reason is."""
        text = " ".join(self.without_secrets(text).split())
        return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


def server_of(declared: McpServer, namespace: str, environ: Mapping[str, str], folder: Path) -> Server:
    """The server that an entry means; relative paths start in the folder.

    Raises InvalidInput for a variable that is unset and a value that is no header, NotSupported for a secret that
    cannot be read.
    """
    headers = {name: resolve(text, environ) for name, text in declared.headers.items()}
    headers |= authorization(declared.auth, environ)
    check_lines(headers)
    command = tuple(resolve(text, environ) for text in (declared.command, *declared.args) if text is not None)
    url = resolve(declared.url, environ) if declared.url is not None else ""
    return Server(
        namespace=namespace,
        way=declared.way,
        shown=(urlsplit(url).netloc.rpartition("@")[2] if url else Path(command[0]).name),
        command=command,
        environment=tuple(sorted((name, resolve(text, environ)) for name, text in declared.env.items())),
        folder=str((folder / declared.cwd) if declared.cwd is not None else folder),
        url=url,
        headers=tuple(sorted(headers.items())),
        allow_private=declared.allow_private,
        connect_seconds=declared.connect_timeout_seconds,
        secrets=_secrets(declared, environ),
    )


def _secrets(declared: McpServer, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What nobody may read in an answer or an error: what the environment gave. Longest first: one may hold another."""
    texts = [*declared.headers.values(), *declared.env.values(), *declared.args]
    found = {value for text in texts for value in resolved_values(text, environ)}
    if declared.url is not None:
        # Which server it is, is no secret.
        parts = urlsplit(declared.url)
        found |= {value for value in resolved_values(f"{parts.path}?{parts.query}", environ) if "://" not in value}
    found |= _of_auth(declared.auth, environ)
    return tuple(sorted((each for each in found if len(each) >= SHORTEST_SECRET), key=lambda each: (-len(each), each)))


def _of_auth(auth: Auth | None, environ: Mapping[str, str]) -> set[str]:
    match auth:
        case None:
            return set()
        case BearerAuth():
            return {resolve(auth.token, environ)}
        case BasicAuth():
            return {resolve(auth.password, environ), *(text[6:] for text in authorization(auth, environ).values())}
        case _:
            return {resolve(auth.value, environ)}
