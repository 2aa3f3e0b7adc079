"""An entry of an agent's file that stands for the tools of an MCP server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from astromesh.v1.tools_pb2 import ToolSource as SourceHealth
from astromesh_core.errors import AstromeshError
from astromesh_tools.catalogue import Offer
from astromesh_tools.mcp.definitions import definitions_of
from astromesh_tools.mcp.requests import specs_of_ours
from astromesh_tools.mcp.server_tool import ServerTool
from astromesh_tools.mcp.servers import server_of
from astromesh_tools.tool import Tool

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import ResourceRef, ToolSpec
    from astromesh_core.resources.agent_tools import McpTool
    from astromesh_tools.mcp.connection import Connection
    from astromesh_tools.mcp.connections import Connections
    from astromesh_tools.mcp.session import Listing
    from astromesh_tools.surroundings import Surroundings

_TOLD: Final = 5
"""Tools that are left out, of which it is told why."""

_PINNED: Final = 256


class McpSource:
    """The tools of one server that an agent is offered; see ToolSource."""

    def __init__(self, declared: McpTool, agent: ResourceRef, around: Surroundings, connections: Connections) -> None:
        self._declared = declared
        self._connection: Connection | AstromeshError
        try:
            # A mesh that is told everything over HTTP need not have the folder.
            folder = around.config_folder if around.config_folder.is_dir() else Path.cwd()
            server = server_of(declared, agent.namespace, around.environ, folder)
            self._connection = connections.of(server)
        except AstromeshError as error:
            # The environment does not say how to reach the server.
            self._connection = error
        self._clock = around.clock
        self._listing: Listing | None = None
        self._offer: Offer | None = None
        self._pinned: dict[str, ServerTool] = {}

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
        connection = self._connection
        if isinstance(connection, AstromeshError):
            return self._away(connection)
        try:
            listing = await connection.listing()
        except AstromeshError as error:
            return self._away(error)
        if self._offer is None or listing is not self._listing:
            # Thousands of schemas take a while to compile.
            offer = await asyncio.to_thread(self._made, listing, connection)
            self._listing, self._offer = listing, offer
            return offer
        return self._offer

    def pinned(self, spec: ToolSpec) -> ServerTool | None:
        """See ToolSource."""
        if spec.origin.entry != self.entry or isinstance(self._connection, AstromeshError):
            return None
        offered = self._offer.tools.get(spec.name) if self._offer is not None else None
        for known in (offered, self._pinned.get(spec.name)):
            if isinstance(known, ServerTool) and known.spec == spec:
                return known
        if len(self._pinned) >= _PINNED:
            self._pinned.clear()
        self._pinned[spec.name] = tool = ServerTool(spec, self._connection, self._clock)
        return tool

    def _made(self, listing: Listing, connection: Connection) -> Offer:
        definitions = definitions_of(self._declared, listing)
        before = self._offer.tools if self._offer is not None else dict[str, Tool]()
        tools = dict[str, Tool]()
        for spec in (*definitions.specs, *specs_of_ours(self._declared)):
            known = before.get(spec.name)
            if known is None or known.spec != spec:
                known = ServerTool(spec, connection, self._clock)
            tools[spec.name] = known
        left_out = definitions.left_out
        if not left_out:
            return Offer(tools, self._health(connected=True, reason="Connected", message=f"{len(tools)} tools"))
        more = f" and {len(left_out) - _TOLD} more" if len(left_out) > _TOLD else ""
        message = f"left out: {'; '.join(left_out[:_TOLD])}{more}"
        return Offer(tools, self._health(connected=True, reason="SomeLeftOut", message=message))

    def _away(self, error: AstromeshError) -> Offer:
        reason = "".join(word.capitalize() for word in error.code.split("-"))
        return Offer({}, self._health(connected=False, reason=reason, message=error.message))

    def _health(self, *, connected: bool, reason: str, message: str) -> SourceHealth:
        server = self._connection.server if not isinstance(self._connection, AstromeshError) else None
        return SourceHealth(
            entry=self.entry,
            connected=connected,
            required=self._declared.required,
            reason=reason,
            message=(
                server.told(f"{self.entry} ({server.shown}): {message}")
                if server is not None
                else f"{self.entry}: {message}"
            ),
        )
