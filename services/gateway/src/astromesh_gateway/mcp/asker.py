"""Who calls over MCP, and what the request says beside its message. Known without the SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from starlette.types import Scope

from astromesh_core.rpc.identity import Caller

_SCOPE_KEY: Final = "astromesh.mcp"

RequestId = str | int
"""Of a message, as its client numbers them."""


@dataclass(frozen=True, slots=True)
class Asker:
    """One request's caller."""

    caller: Caller
    traceparent: str
    session: str = ""
    """The client's session with the gateway, which says which messages belong together; "" where there is none."""
    idempotency_key: str = ""
    cancel_on_disconnect: bool = False
    closing_cancels: bool = False
    """Protocol 2026-07-28: who closes the answer's stream cancels the request."""

    def key_of(self, request_id: RequestId | None) -> str:
        """The idempotency key of a call: a client never numbers two messages of a session alike, so a message that
        comes twice is one run, and any gateway finds it again. "" where nothing says so."""
        if self.idempotency_key:
            return self.idempotency_key
        return f"mcp/{self.session}/{request_id!r}" if self.session and request_id is not None else ""

    def enter(self, scope: Scope) -> None:
        """Has the handler of the request's message find it."""
        scope[_SCOPE_KEY] = self


def asker_of(scope: Scope) -> Asker:
    """Who sent the request of this scope."""
    return cast("Asker", scope[_SCOPE_KEY])
