"""Who calls: API keys from RuntimeConfig, and what each role may do. The same for HTTP, WebSocket and gRPC.

Without any key configured the caller is "anonymous", an admin, and only this machine is served. A browser's page may
reach this machine too, under another name (DNS rebinding): so the Host and the Origin of a request have to be its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from astromesh_core.errors import Denied
from astromesh_core.events.identity import DEFAULT_NAMESPACE, check_namespace
from astromesh_core.rpc.addresses import is_loopback
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.directory import Directory

Role = Literal["viewer", "user", "admin"]
"""A viewer reads, a user runs agents too, an admin changes resources too."""

ANONYMOUS = "anonymous"
NAMESPACE_HEADER = "x-astromesh-namespace"
KEY_HEADER = "x-api-key"

_RANKS: dict[str, int] = {"viewer": 1, "user": 2, "admin": 3}
_SCHEME = "bearer "
_NAMED_HERE = ("host", "origin")


class Unauthenticated(Denied):
    """Nobody known calls: a key is missing or wrong."""


class Authenticator:
    """Turns headers into callers. Keys take effect, and lose it, as their RuntimeConfig changes."""

    def __init__(self, directory: Directory, host: str) -> None:
        self._directory = directory
        self._only_this_machine = is_loopback(host)

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """On whose behalf a request with these headers (names in lower case) comes.

        Raises Unauthenticated for a missing or wrong key, Denied for another key's namespace and, where no key is
        needed, for a Host or an Origin that is not this machine, InvalidInput for a namespace that is none.
        """
        wanted = headers.get(NAMESPACE_HEADER, "")
        found, any_key = self._find(_given_key(headers))
        if found is not None:
            return _in_namespace(found, wanted)
        if any_key:
            raise Unauthenticated(
                "this mesh needs an API key: send Authorization: Bearer … or X-API-Key with a valid one"
            )
        if not self._only_this_machine:
            raise Unauthenticated("no API key is configured, so only callers on a loopback address would be served")
        for header in _NAMED_HERE:
            value = headers.get(header, "")
            if value and not _is_here(value):
                told = f"a request from {value[:200]!r} ({header})"
                raise Denied(f"{told}: without API keys, only this machine is served")
        return Caller(ANONYMOUS, check_namespace(wanted) if wanted else DEFAULT_NAMESPACE, "admin")

    def has_keys(self) -> bool:
        """Whether any API key is configured."""
        return bool(self._directory.api_keys())

    def _find(self, given: str) -> tuple[Caller | None, bool]:
        keys = self._directory.api_keys()
        if not keys:
            return None, False
        digest = f"sha256:{hashlib.sha256(given.encode()).hexdigest()}"
        found: Caller | None = None
        for key in keys:
            # Every key is compared, in constant time: how long it takes tells nothing of which one matched.
            if hmac.compare_digest(key.hash, digest):
                found = Caller(key.name, key.namespace, key.role)
        return (found if given else None), True


def require(caller: Caller, role: Role) -> None:
    """Lets those through who have the role or a higher one. Raises Denied."""
    if _RANKS.get(caller.role, 0) < _RANKS[role]:
        raise Denied(f"the key {caller.principal!r} has the role {caller.role!r}; this needs {role!r}")


@lru_cache(maxsize=64)
def _is_here(value: str) -> bool:
    """Whether a Host or an Origin names this machine."""
    try:
        host = urlsplit(value if "://" in value else f"//{value}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or is_loopback(host)


def _given_key(headers: Mapping[str, str]) -> str:
    authorization = headers.get("authorization", "")
    if authorization[: len(_SCHEME)].lower() == _SCHEME:
        return authorization[len(_SCHEME) :].strip()
    return headers.get(KEY_HEADER, "").strip()


def _in_namespace(caller: Caller, wanted: str) -> Caller:
    if not wanted or wanted == caller.namespace:
        return caller
    if caller.role != "admin":
        raise Denied(f"the key {caller.principal!r} belongs to namespace {caller.namespace!r}, not to {wanted[:80]!r}")
    return caller._replace(namespace=check_namespace(wanted))
