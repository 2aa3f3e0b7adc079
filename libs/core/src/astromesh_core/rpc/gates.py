"""Who may call a server: gates look at the headers of a call and say on whose behalf it comes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from astromesh_core.errors import Denied
from astromesh_core.rpc.identity import CALLER_HEADER, Caller, parse_caller

TOKEN_HEADER = "authorization"
_SCHEME = "Bearer "


class MeshGate:
    """Lets the services of this mesh in, by the mesh's token, and believes what they say of their caller."""

    def __init__(self, token: str) -> None:
        self._expected = (_SCHEME + token).encode()

    async def __call__(self, headers: Mapping[str, str]) -> Caller:
        """The caller named in the headers. Raises Denied for a wrong token, in constant time."""
        given = headers.get(TOKEN_HEADER, "").encode()
        if not hmac.compare_digest(given, self._expected):
            raise Denied("This server only answers services of its mesh: the token is missing or wrong.")
        return parse_caller(headers.get(CALLER_HEADER, ""))


async def open_gate(headers: Mapping[str, str]) -> Caller:
    """Lets everybody in: for a server that only this machine can reach, in tests."""
    return parse_caller(headers.get(CALLER_HEADER, ""))


def bearer(token: str) -> str:
    """The value of the token's header."""
    return _SCHEME + token
