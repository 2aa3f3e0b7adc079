"""An entry of an agent's file that stands for operations of an OpenAPI document; see ToolSource."""

from __future__ import annotations

import asyncio
import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from astromesh.v1.tools_pb2 import ToolSource as SourceHealth
from astromesh.v1.values_pb2 import ToolOrigin, ToolSpec
from astromesh_core.errors import AstromeshError, InvalidInput
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.catalogue import Offer
from astromesh_tools.functions import EFFECTS
from astromesh_tools.openapi.documents import Document
from astromesh_tools.openapi.fetching import fetched, file_of, keep, keeping_place, read_file
from astromesh_tools.openapi.operations import OperationCall, find
from astromesh_tools.openapi.requests import endpoint_of, operation_request
from astromesh_tools.webhooks import WebhookTool

if TYPE_CHECKING:
    from astromesh_core.resources.agent_tools import OpenapiTool
    from astromesh_tools.surroundings import Surroundings
    from astromesh_tools.tool import Tool

TYPE: Final = "openapi"
MOST_SCHEMA_BYTES: Final = 64 * 1024
LONGEST_NAME: Final = 64

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")

State = tuple[int, int]
"""Of a file: when it changed, and its size."""


class OpenapiSource:
    """The operations that an agent is offered.

    Raises InvalidInput, with the reason, for a file of which no tools can be made; one that changes later and is no
    good leaves the tools as they were, and says so.
    """

    def __init__(self, declared: OpenapiTool, around: Surroundings) -> None:
        self._declared = declared
        self._around = around
        self._offer: Offer | None = None
        self._state: State | None = None
        self._pinned: dict[str, WebhookTool] = {}
        if not declared.is_remote:
            self._state = self._file_state()
            self._offer = self._made(read_file(declared, around.config_folder))

    @property
    def entry(self) -> str:
        """See ToolSource."""
        return self._declared.name

    @property
    def latest(self) -> Offer | None:
        """See ToolSource."""
        return self._offer

    async def offer(self) -> Offer:
        """See ToolSource."""
        if self._declared.is_remote and self._offer is None:
            try:
                data = await fetched(self._declared, self._around)
                self._offer = await asyncio.to_thread(self._made, data)
            except AstromeshError as error:
                return Offer({}, self._health(error.message, connected=False, reason=_camel(error)))
        elif not self._declared.is_remote:
            await self._reread()
        assert self._offer is not None
        return self._offer

    def pinned(self, spec: ToolSpec) -> Tool | None:
        """See ToolSource: what an operation was is kept for as long as a run may have pinned it."""
        if spec.origin.entry != self.entry:
            return None
        offered = self._offer.tools.get(spec.name) if self._offer is not None else None
        for known in (offered, self._pinned.get(spec.name)):
            if known is not None and known.spec == spec:
                return known
        place = keeping_place(self._around.data_folder, f"{spec.origin.sha256.hex()}.json")
        try:
            call = OperationCall.model_validate_json(place.read_bytes())
        except (OSError, ValidationError):
            return None
        self._pinned[spec.name] = tool = self._tool(call, spec)
        return tool

    async def _reread(self) -> None:
        state = await asyncio.to_thread(self._file_state)
        if state == self._state:
            return
        try:
            self._offer = await asyncio.to_thread(
                lambda: self._made(read_file(self._declared, self._around.config_folder))
            )
            self._state = state
        except InvalidInput as error:
            tools = self._offer.tools if self._offer is not None else dict[str, Tool]()
            message = f"{error.message}; the tools are those of the document as it was"
            self._offer = Offer(tools, self._health(message, connected=True, reason="ChangeRefused"))

    def _file_state(self) -> State:
        try:
            found = file_of(self._declared, self._around.config_folder).stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def _made(self, data: bytes) -> Offer:
        tools: dict[str, Tool] = {}
        for call, spec in offered(self._declared, data):
            tools[spec.name] = self._tool(call, spec)
            keep(keeping_place(self._around.data_folder, f"{spec.origin.sha256.hex()}.json"), call.to_json())
        return Offer(tools, self._health(f"{len(tools)} operations", connected=True, reason="Connected"))

    def _tool(self, call: OperationCall, spec: ToolSpec) -> WebhookTool:
        around = self._around
        endpoint = endpoint_of(self._declared, call)
        return WebhookTool(
            endpoint,
            around.outbound,
            around.environ,
            around.clock,
            spec=spec,
            make=partial(operation_request, call, endpoint),
        )

    def _health(self, message: str, *, connected: bool, reason: str) -> SourceHealth:
        return SourceHealth(
            entry=self.entry,
            connected=connected,
            required=self._declared.required,
            reason=reason,
            message=f"{self.entry} ({self._declared.spec}): {message}",
        )


def offered(declared: OpenapiTool, data: bytes) -> list[tuple[OperationCall, ToolSpec]]:
    """The operations that an entry names, of its document, each with its tool. Raises InvalidInput, with the reason."""
    try:
        document = Document(data)
        calls = [find(document, name) for name in declared.operations]
    except InvalidInput as error:
        raise InvalidInput(f"{declared.spec} {error.message}") from error
    found: dict[str, tuple[OperationCall, ToolSpec]] = {}
    for call in calls:
        spec = _spec(declared, call, document.version)
        if spec.name in found:
            raise InvalidInput(
                f"two operations are both called {spec.name}: {found[spec.name][0].operation} and {call.operation}; "
                "declare them in two entries, one of them with a prefix"
            )
        endpoint_of(declared, call)
        found[spec.name] = call, spec
    return list(found.values())


def _spec(declared: OpenapiTool, call: OperationCall, version: str) -> ToolSpec:
    try:
        schema = ArgumentsSchema(call.parameters).text
    except InvalidInput as error:
        raise InvalidInput(f"{declared.spec}: the operation {call.operation}: {error.message}") from error
    if len(schema) > MOST_SCHEMA_BYTES:
        raise InvalidInput(
            f"{declared.spec}: the operation {call.operation} takes arguments whose schema has more than "
            f"{MOST_SCHEMA_BYTES // 1024} KiB"
        )
    return ToolSpec(
        name=f"{declared.prefix}{_UNSAFE.sub('_', call.operation).strip('_')}"[:LONGEST_NAME],
        description=call.description,
        parameters_json=schema,
        effect=EFFECTS[declared.effect_of(call.operation, call.method)],
        timeout_ms=round(declared.timeout_seconds * 1000),
        type=TYPE,
        origin=ToolOrigin(
            entry=declared.name,
            name=call.operation,
            version=version[:100],
            sha256=hashlib.sha256(call.to_json()).digest(),
        ),
    )


def _camel(error: AstromeshError) -> str:
    return "".join(word.capitalize() for word in error.code.split("-"))
