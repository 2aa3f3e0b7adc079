"""MCP servers for tests: of the official SDK in this process, and one whose answers the test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal

import orjson
import uvicorn
from pydantic import JsonValue

from astromesh_testing.mesh import free_ports
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.waiting import until

if TYPE_CHECKING:
    from mcp.server import MCPServer

Json = dict[str, JsonValue]

LEGACY: Final = "2025-11-25"


@asynccontextmanager
async def serving(server: MCPServer, way: Literal["http", "sse"] = "http", port: int = 0) -> AsyncGenerator[str]:
    """Yields the address of a server of the SDK in this process."""
    port = port or free_ports(1)[0]
    app = server.streamable_http_app() if way == "http" else server.sse_app()
    config = uvicorn.Config(app, port=port, log_level="critical", lifespan="on", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(), name="an MCP server")
    await until(lambda: _began(running, task))
    try:
        yield f"http://127.0.0.1:{port}/{'mcp' if way == 'http' else 'sse'}"
    finally:
        running.should_exit = running.force_exit = True
        await task


async def _began(server: uvicorn.Server, task: asyncio.Task[None]) -> bool:
    return server.started or task.done()


Answer = Callable[["LegacyServer", Exchange, Json], Awaitable[None]]


class LegacyServer:
    """A server of 2025 over streamable HTTP, with sessions: `tools` are listed as they are, in pages of `page`; what
    `answer` does with a call is the test's."""

    def __init__(self, tools: list[Json], answer: Answer, *, page: int = 1_000) -> None:
        self.tools = tools
        self.page = page
        self.initialized = 0
        self.calls: list[Json] = []
        self.sessions = set[str]()
        self.cancelled: list[JsonValue] = []
        self.deleted = 0
        self._answer = answer

    def forget(self) -> None:
        """As if it had been started again."""
        self.sessions.clear()

    async def __call__(self, exchange: Exchange) -> None:
        """Answers a request."""
        request = exchange.request
        session = request.headers.get("mcp-session-id", "")
        if request.method == "DELETE":
            self.deleted += 1
            await exchange.send(200, b"", "text/plain")
        elif request.method != "POST":
            await exchange.send(405, b"", "text/plain")
        else:
            message: Json = orjson.loads(request.body)
            if message["method"] not in ("initialize", "server/discover") and session not in self.sessions:
                await exchange.send(404, b"no such session", "text/plain")
            else:
                await self._answered(exchange, message)

    async def _answered(self, exchange: Exchange, message: Json) -> None:
        match message["method"]:
            case "initialize":
                self.initialized += 1
                self.sessions.add(name := f"s{self.initialized}")
                result: Json = {
                    "protocolVersion": LEGACY,
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "legacy", "version": "7"},
                }
                await self.reply(exchange, message, result, {"mcp-session-id": name})
            case "tools/list":
                await self.reply(exchange, message, self._page(message))
            case "tools/call":
                self.calls.append(message)
                await self._answer(self, exchange, message)
            case "notifications/cancelled":
                params = message["params"]
                self.cancelled.append(params.get("requestId") if isinstance(params, dict) else None)
                await exchange.send(202, b"", "text/plain")
            case "server/discover":
                await self.fail(exchange, message, -32601, "unknown method")
            case _:
                await exchange.send(202, b"", "text/plain")

    async def reply(
        self, exchange: Exchange, message: Json, result: Json, headers: dict[str, str] | None = None
    ) -> None:
        """Sends a result."""
        body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
        await exchange.send(200, body, "application/json", headers)

    async def fail(self, exchange: Exchange, message: Json, code: int, text: str, status: int = 200) -> None:
        """Sends an error."""
        error: Json = {"code": code, "message": text}
        body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error})
        await exchange.send(status, body, "application/json")

    async def say(self, exchange: Exchange, message: Json, text: str) -> None:
        """Sends the result of a call, as text."""
        await self.reply(exchange, message, {"content": [{"type": "text", "text": text}]})

    def _page(self, message: Json) -> Json:
        params = message.get("params")
        cursor = params.get("cursor") if isinstance(params, dict) else None
        start = int(str(cursor or 0))
        result: Json = {"tools": [*self.tools[start : start + self.page]]}
        if start + self.page < len(self.tools):
            result["nextCursor"] = str(start + self.page)
        return result


def described(name: str, **fields: JsonValue) -> Json:
    """A tool as a server lists it, without parameters unless they are given."""
    return {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}, **fields}


@asynccontextmanager
async def legacy(server: LegacyServer, port: int = 0) -> AsyncGenerator[str]:
    """Yields the server's address."""
    async with LoopbackServer(server, port) as running:
        yield f"{running.url}/mcp"
