"""What it means that a request had no result. Pure.

refused   the server did not do it: it says so, or nothing reached it
gone      it does not know the connection any more, and did nothing: once more over a new one
open      nobody knows: it broke, or the connection did, or it answers what is no MCP

A JSON-RPC error is a refusal where its code says that the request was not taken up; of any other, such as an internal
error (-32603), the server may have come half-way (https://www.jsonrpc.org/specification, 5.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, cast

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    UNSUPPORTED_PROTOCOL_VERSION,
    URL_ELICITATION_REQUIRED,
)
from pydantic import ValidationError

from astromesh_core.errors import AstromeshError, Denied, InvalidInput, NotFound, RateLimited, Unavailable
from astromesh_tools.mcp.http import EVENTS, Sending

SESSION_GONE: Final = 32600
"""As releases 1 of the SDK spell a 404 with a session, and servers that stand before others pass it on. Positive."""

_RESOURCE_NOT_FOUND: Final = -32002

_REFUSALS: Final = frozenset(
    (
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        INVALID_PARAMS,
        HEADER_MISMATCH,
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        UNSUPPORTED_PROTOCOL_VERSION,
        URL_ELICITATION_REQUIRED,
        _RESOURCE_NOT_FOUND,
    )
)
_NOBODY_TOOK_IT: Final = frozenset((301, 307, 308))
"""By 302 and 303 servers answer a form that they took (RFC 9110, 15.4.4)."""

_NOT_TAKEN: Final = frozenset((501, 503))


class Meaning(Enum):
    """See the module."""

    REFUSED = auto()
    GONE = auto()
    OPEN = auto()


@dataclass(frozen=True)
class Judgement:
    """What it means, and the error to tell of it."""

    meaning: Meaning
    error: AstromeshError


def judged(error: BaseException, sending: Sending) -> Judgement:
    """What it means that the SDK raised this for a request of which HTTP tells that."""
    alone = leaf(error)
    said = words(alone)
    code = alone.code if isinstance(alone, MCPError) else 0
    if sending.unsent is not None:
        return Judgement(Meaning.REFUSED, sending.unsent)
    told = f"{said}; it answered {sending.status}" if sending.status else said
    if code == SESSION_GONE or sending.status == HTTPStatus.NOT_FOUND:
        return Judgement(Meaning.GONE, NotFound(told))
    if _is_strange(sending, code):
        return Judgement(Meaning.GONE, InvalidInput(told))
    by_status = _by_status(sending, said)
    if by_status is not None:
        return by_status
    if code in _REFUSALS:
        return Judgement(Meaning.REFUSED, InvalidInput(said))
    return Judgement(Meaning.OPEN, Unavailable(said))


def _is_strange(sending: Sending, code: int) -> bool:
    """Whether the server does not know who asks: many say 400 where the protocol asks for 404."""
    return sending.status == HTTPStatus.BAD_REQUEST and code not in _REFUSALS - {INVALID_REQUEST}


def leaf(error: BaseException) -> BaseException:
    """The error itself, of groups that hold only one each; the first of several."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def words(error: BaseException) -> str:
    """What an error of the SDK says to a person; never stack text."""
    if isinstance(error, MCPError):
        return f"{error.message or 'an error'} ({error.code})"
    if isinstance(error, ValidationError):
        return "its answer is not what the protocol asks for"
    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _by_status(sending: Sending, said: str) -> Judgement | None:
    status = sending.status
    told = f"{said}; it answered {status}"
    if status in _NOBODY_TOOK_IT:
        return Judgement(Meaning.REFUSED, InvalidInput(f"{said}; declare the address that is meant"))
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Judgement(Meaning.REFUSED, Denied(told))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Judgement(Meaning.REFUSED, RateLimited(told))
    if status in _NOT_TAKEN:
        return Judgement(Meaning.REFUSED, Unavailable(told))
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.REQUEST_TIMEOUT:
        return Judgement(Meaning.REFUSED, InvalidInput(told))
    if status and (status != HTTPStatus.OK or sending.media_type not in ("application/json", EVENTS)):
        return Judgement(Meaning.OPEN, Unavailable(told))
    return None
