"""All connections with MCP servers: one for each server and namespace, whoever's agents need it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Self
from weakref import WeakValueDictionary

from astromesh_core.outbound import Outbound

if TYPE_CHECKING:
    from astromesh_tools.mcp.connection import Connection
    from astromesh_tools.mcp.servers import Server

_TALKATIVE: Final = ("mcp.client", "mcp.shared", "client")


class Connections:
    """Opens nothing by itself. `async with` it: leaving ends every session and every program that was started."""

    def __init__(self, user_agent: str) -> None:
        # Streams stay open, so their number is bounded by that of the servers, and not by that of requests.
        self._outbound = Outbound(user_agent, most=0)
        self._kept: WeakValueDictionary[Server, Connection] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        # The SDK logs each failure with its stack, secrets of addresses included; what failed is told where it matters.
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await asyncio.gather(*(connection.close() for connection in list(self._kept.values())))
        async with self._outbound:
            return

    def of(self, server: Server) -> Connection:
        """The connection with this server."""
        # Imported here: the SDK takes a second to import, and most agents have no servers.
        from astromesh_tools.mcp.connection import Connection

        found = self._kept.get(server)
        if found is None:
            found = self._kept[server] = Connection(server, self._outbound)
        return found
