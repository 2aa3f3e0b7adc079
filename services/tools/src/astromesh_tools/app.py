"""Builds the tools service from the platform."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import time_ns
from typing import Final

from astromesh.v1.rag_pb2_grpc import RagServiceStub
from astromesh.v1.tools_pb2_grpc import add_ToolsServiceServicer_to_server
from astromesh_core.outbound import Outbound
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.service import Platform
from astromesh_core.user_code.modules import Modules
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.mcp.connections import Connections
from astromesh_tools.service import ToolsService
from astromesh_tools.surroundings import Surroundings
from astromesh_tools.toolbox import Toolboxes

USER_AGENT: Final = "astromesh/0.1 (tools of agents)"
THREADS: Final = 32
"""Blocking functions that run at once; they mostly wait for others, so there are more than cores."""


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server. Leaving starts no more functions and waits for none that hang."""
    settings = platform.settings
    modules = Modules(settings.config_dir / "tools")
    threads = DaemonThreads(THREADS)
    rag = RagServiceStub(platform.connections.channel("rag"))
    async with Outbound(USER_AGENT) as outbound, Connections(USER_AGENT) as connections:
        around = Surroundings(
            threads, outbound, time_ns, os.environ, settings.config_dir, settings.data_dir, platform.bus.values
        )
        toolboxes = Toolboxes(platform.bus.resources, modules, rag, around, connections)
        service = ToolsService(toolboxes, platform.bus.values, time_ns, platform.telemetry, platform.bus.tool_progress)

        def register(server: RpcServer) -> None:
            add_ToolsServiceServicer_to_server(service, server)

        try:
            yield register
        finally:
            threads.close()
            await toolboxes.close()
