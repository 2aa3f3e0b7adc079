"""The built-in providers as objects of the provider protocol, for users' classes that add something to one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path

from pydantic import JsonValue

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Usage
from astromesh_core.errors import Bug, InvalidInput
from astromesh_core.resources.vendors import VENDORS
from astromesh_router.candidates import Candidate, Prices
from astromesh_router.completion import NANOS, cost_nanos
from astromesh_router.deadlines import in_time
from astromesh_router.dialects.port import Dialect, Part, Reply
from astromesh_router.failures import CandidateFailed

KEY = "API_KEY"


class BuiltIn:
    """One model of a built-in provider. Satisfies `ProviderProtocol`; errors are those of `astromesh_core.errors`."""

    def __init__(self, candidate: Candidate, dialect: Dialect, close: Callable[[], Awaitable[None]]) -> None:
        self._candidate = candidate
        self._dialect = dialect
        self._close = close

    async def complete(self, request: CompleteRequest) -> Reply:
        """See `ProviderProtocol.complete`."""
        async with aclosing(self.stream(request)) as parts:
            async for part in parts:
                if isinstance(part, Reply):
                    return part
        raise Bug(f"{self._candidate.label} ended without a reply")

    async def stream(self, request: CompleteRequest) -> AsyncGenerator[Part, None]:
        """See `ProviderProtocol.stream`."""
        stream = self._dialect.stream(self._candidate, request)
        try:
            async with aclosing(in_time(stream, self._candidate, self._candidate.patience.whole)) as parts:
                async for part in parts:
                    yield part
        except CandidateFailed as failure:
            raise failure.error from failure

    async def health_check(self) -> bool:
        """See `ProviderProtocol.health_check`. Raises where the provider does not answer."""
        try:
            models = await self._dialect.models(self._candidate)
        except CandidateFailed as failure:
            raise failure.error from failure
        return not models or self._candidate.model in models or f"{self._candidate.model}:latest" in models

    def supports_tools(self) -> bool:
        """See `ProviderProtocol.supports_tools`. True: what a vendor's model cannot do, the vendor says."""
        return self._candidate.tools is not False

    def estimated_cost(self, input_tokens: int, output_tokens: int) -> float:
        """See `ProviderProtocol.estimated_cost`. By the prices that were given."""
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        return cost_nanos(usage, self._candidate.prices) / NANOS

    async def close(self) -> None:
        """Closes its connections."""
        await self._close()


def built_in(
    provider: str,
    *,
    model: str,
    endpoint: str = "",
    api_key: str = "",
    parameters: Mapping[str, JsonValue] | None = None,
    prices: Prices | None = None,
    api_version: str = "",
) -> BuiltIn:
    """A built-in provider by its type, as in YAML; `api_key` is the key itself. The caller closes it.

    Raises InvalidInput for a type that is not built in.
    """
    # Imported here because users' classes, which this is for, are made by what the app builds.
    from astromesh_router.app import HttpDialects, no_embedder, talking
    from astromesh_router.dialects.onnx import Onnx

    vendor = VENDORS.get(provider)
    if vendor is None:
        raise InvalidInput(f"{provider!r} is no built-in provider; there are {', '.join(VENDORS)}")
    http = HttpDialects({KEY: api_key})
    candidate = Candidate(
        provider,
        vendor.dialect,
        model,
        endpoint or vendor.endpoint,
        parameters or {},
        f"${{{KEY}}}" if api_key else None,
        prices=prices or Prices(),
        api_version=api_version,
    )
    onnx = Onnx(Path())
    dialect = talking(http, no_embedder, onnx)[vendor.dialect]
    return BuiltIn(candidate, dialect, onnx.close if dialect is onnx else http.close)
