"""An agent's tools, made once for each version of the agent and each state of the users' modules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_tools import AgentTool as DeclaredAgent
from astromesh_core.resources.agent_tools import BuiltinTool as BuiltIn
from astromesh_core.resources.agent_tools import InternalTool, McpTool, OpenapiTool, RagTool
from astromesh_core.resources.agent_tools import Tool as Declared
from astromesh_core.resources.agent_tools import WebhookTool as Webhook
from astromesh_core.resources.compiled import Compiled, Specs
from astromesh_core.resources.extras import MCP
from astromesh_core.user_code.foreign import Raised
from astromesh_core.user_code.modules import Modules
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.agents import AgentTool
from astromesh_tools.builtin.opening import opened
from astromesh_tools.builtin.tool import BuiltinTool
from astromesh_tools.by_hand import ByHand
from astromesh_tools.catalogue import Toolbox, ToolSource
from astromesh_tools.controlled import Controls
from astromesh_tools.functions import FunctionTool
from astromesh_tools.isolation import IsolatedTool
from astromesh_tools.mcp.connections import Connections
from astromesh_tools.openapi.source import OpenapiSource
from astromesh_tools.processes import Processes
from astromesh_tools.reading_results import ResultReader
from astromesh_tools.retrieval import RetrievalTool
from astromesh_tools.surroundings import Surroundings
from astromesh_tools.tool import Tool
from astromesh_tools.webhooks import WebhookTool

if TYPE_CHECKING:
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub

_Value = TypeVar("_Value")

_KEPT: Final = 1024

_EMPTY: Final = Toolbox(())


class Toolboxes:
    """The toolboxes of all agents. Users' modules are imported in one thread of their own."""

    def __init__(
        self,
        specs: Specs,
        modules: Modules,
        rag: RagServiceAsyncStub,
        around: Surroundings,
        connections: Connections,
    ) -> None:
        self._agents = Compiled(specs, _tools_of)
        self._by_hand = Compiled(specs, _by_hand_of)
        self._modules = modules
        self._rag = rag
        self._around = around
        self._connections = connections
        self._processes = Processes()
        self._controls = Controls(around.clock, around.values)
        self._made: dict[tuple[str, str, bytes], tuple[int, Toolbox]] = {}
        # One thread: no two imports at once. Of its own: functions that hang cannot keep it.
        self._importing = DaemonThreads(1)
        self._refreshing = False

    async def of(self, agent: ResourceRef) -> Toolbox:
        """Returns the agent's tools. An edit of a module is in force within half a second, for calls that begin then.

        Raises NotFound for an unknown version, InvalidInput or NotSupported for a tool that cannot be offered, by name.
        """
        if self._modules.due and not self._refreshing:
            await self._refresh()
        key = (agent.namespace, agent.name, agent.sha256)
        generation, toolbox = self._made.get(key, (0, _EMPTY))
        if generation != self._modules.generation:
            declared = await self._agents.of(agent)
            generation, toolbox = await self._import(partial(self._make, declared, agent))
            if len(self._made) >= _KEPT:
                self._made.clear()
            self._made[key] = (generation, toolbox)
        return toolbox

    async def by_hand(self, agent: ResourceRef) -> ByHand:
        """What the agent's callers may call by hand. Raises NotFound."""
        return await self._by_hand.of(agent)

    async def close(self) -> None:
        """Imports no more, forgets what was imported, and returns when no process of an isolated call is left."""
        self._importing.close()
        self._modules.close()
        await self._processes.close()

    async def _refresh(self) -> None:
        self._refreshing = True
        try:
            await self._import(self._modules.refresh)
        finally:
            self._refreshing = False

    async def _import(self, call: Callable[[], _Value]) -> _Value:
        try:
            return await asyncio.wrap_future(self._importing.submit(call))
        except Raised as raised:
            raise raised.error from raised

    def _make(self, declared: tuple[Declared, ...], agent: ResourceRef) -> tuple[int, Toolbox]:
        return self._modules.generation, Toolbox(
            self._controls.around(self._tool(tool, agent), tool, agent) for tool in declared
        )

    def _tool(self, declared: Declared, agent: ResourceRef) -> Tool | ToolSource:
        try:
            return self._opened(declared, agent)
        except InvalidInput as error:
            raise InvalidInput(f"agent {agent.name}, tool {declared.name}: {error.message}") from error

    def _opened(self, declared: Declared, agent: ResourceRef) -> Tool | ToolSource:
        around = self._around
        match declared:
            case InternalTool():
                return self._function(declared)
            case RagTool():
                return RetrievalTool(declared, agent.namespace, self._rag, around.clock)
            case Webhook():
                return WebhookTool(declared, around.outbound, around.environ, around.clock)
            case DeclaredAgent():
                return AgentTool(declared)
            case BuiltIn(tool="read_result"):
                return ResultReader(declared, around.values, around.clock)
            case BuiltIn():
                return BuiltinTool(declared, opened(declared, around), around.clock)
            case McpTool():
                return self._server(declared, agent)
            case OpenapiTool():
                return OpenapiSource(declared, around)

    def _function(self, declared: InternalTool) -> Tool:
        tool = FunctionTool(declared, self._modules.find(declared.function), self._around.threads, self._around.clock)
        if declared.isolation is None:
            return tool
        return IsolatedTool(tool, declared.function, declared.isolation, self._modules.folder, self._processes)

    def _server(self, declared: McpTool, agent: ResourceRef) -> ToolSource:
        if not MCP.installed:
            raise NotSupported(f"agent {agent.name}, tool {declared.name}: {MCP.missing}; {MCP.advice}")
        # The SDK takes a second to import, and most agents have no servers.
        from astromesh_tools.mcp.source import McpSource

        return McpSource(declared, agent, self._around, self._connections)


def _tools_of(ref: ResourceRef, spec_json: str) -> tuple[Declared, ...]:
    return AgentSpec.from_json(spec_json).offered


def _by_hand_of(ref: ResourceRef, spec_json: str) -> ByHand:
    return ByHand(AgentSpec.from_json(spec_json))
