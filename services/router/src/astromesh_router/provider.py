"""The protocol of model providers: what a user's own class offers, and what every built-in one offers too.

    provider: "my_package.my_module:MyProvider"

The class is found in the config folder's `providers/`, then on the Python path. It is made once for each candidate that
names it, in a thread, with keyword arguments `model`, `endpoint`, `api_key` and `parameters`, and kept; one with an
async `close()` is closed once its code has changed and its last call has ended. Its methods run on the router's event
loop, which they must not block. Errors are those of `astromesh_core.errors`: Unavailable, RateLimited and TimedOut are
followed by retries and the next candidate, InvalidInput and Denied by the next candidate alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.dialects.port import Part, Reasoning, Reply, Thought, WrittenCall

__all__ = ["CompleteRequest", "Part", "ProviderProtocol", "Reasoning", "Reply", "Thought", "WrittenCall"]


@runtime_checkable
class ProviderProtocol(Protocol):
    """One model behind one endpoint. Any class with these methods is one; nothing has to be inherited."""

    async def complete(self, request: CompleteRequest) -> Reply:
        """The whole reply at once."""
        ...

    def stream(self, request: CompleteRequest) -> AsyncGenerator[Part, None]:
        """Yields text (str) and thinking (Thought) as they come, then exactly one Reply, last, with all of the text.

        Closing the generator stops the model.
        """
        ...

    async def health_check(self) -> bool:
        """Whether the model can be asked now. May raise, too, to say why not."""
        ...

    def supports_tools(self) -> bool:
        """Whether the model can call tools. Where not, requests with tools go to other candidates."""
        ...

    def estimated_cost(self, input_tokens: int, output_tokens: int) -> float:
        """What a call of this size costs, in US dollars."""
        ...


class ProviderClass(Protocol):
    """How a provider is made."""

    def __call__(
        self, *, model: str, endpoint: str, api_key: str, parameters: Mapping[str, JsonValue]
    ) -> ProviderProtocol: ...
