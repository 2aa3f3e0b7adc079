"""On whose behalf a call is made. It travels with every call, in both placements; who may claim it is the gate's
matter."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import NamedTuple
from urllib.parse import quote, unquote

from astromesh_core.errors import Denied

CALLER_HEADER = "astromesh-caller"


class Caller(NamedTuple):
    """Who asks: a principal (an API key's name, an OIDC subject, a service), the namespace it acts in, and its role."""

    principal: str
    namespace: str
    role: str

    def encode(self) -> str:
        """One printable header value."""
        return "/".join(quote(part, safe="") for part in self)


NOBODY = Caller(principal="", namespace="default", role="")
"""The caller where none is known, as in a service's own background work."""

_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def current_caller() -> Caller:
    """On whose behalf the running task works; `NOBODY` outside any call."""
    return _caller.get()


def enter_caller(caller: Caller) -> Token[Caller]:
    """Lets the running task, and those it starts from now on, work for `caller`."""
    return _caller.set(caller)


@contextmanager
def acting_for(caller: Caller) -> Generator[None]:
    """The block, and the calls it makes, work for `caller`."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def parse_caller(header: str) -> Caller:
    """Reads the header; an empty one is `NOBODY`. Raises Denied for anything malformed."""
    if not header:
        return NOBODY
    parts = header.split("/")
    if len(parts) != len(Caller._fields):
        raise Denied(f"The header {CALLER_HEADER} is not principal/namespace/role.")
    return Caller(*map(unquote, parts))
