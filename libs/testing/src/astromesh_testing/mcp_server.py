"""An MCP server on the official SDK: `python -m astromesh_testing.mcp_server JOURNAL [http PORT | sse PORT]`.

What it does is in the journal, line by line, so that a test knows it of a server that was killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import (
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

READS: Final = ToolAnnotations(read_only_hint=True)
REPEATS: Final = ToolAnnotations(idempotent_hint=True)

NoteDown = Callable[[str], None]


def harbour(journal: Path) -> MCPServer:
    """The server. The journal says when it began, which of its tools were called, and which calls came to their end."""

    def note_down(line: str) -> None:
        with journal.open("a") as file:
            file.write(f"{line}\n")

    server = MCPServer("harbour", version="1.2")
    _reads(server, note_down)
    _answers(server)
    _writes(server, note_down)
    _others(server)
    note_down("started")
    return server


def _reads(server: MCPServer, note_down: NoteDown) -> None:
    @server.tool(annotations=READS)
    def boats(port: str) -> str:
        """The boats of a port."""
        note_down(f"boats {port}")
        return f"the Ada lies in {port}"

    @server.tool(annotations=READS)
    async def watch(seconds: float) -> str:
        """Watches the sea."""
        note_down("watch")
        await asyncio.sleep(seconds)
        return "calm"

    @server.tool(annotations=READS)
    async def build(context: Context) -> str:
        """Adds a tool to the list."""

        def launch() -> str:
            """New."""
            return "launched"

        server.add_tool(launch)
        await context.notify_tools_changed()
        await context.session.send_tool_list_changed()
        return "built"


def _answers(server: MCPServer) -> None:
    @server.tool(annotations=READS)
    def forecast() -> dict[str, float]:
        """The wind."""
        return {"wind": 12.5}

    @server.tool(annotations=READS)
    def chart() -> list[ContentBlock]:
        """A chart, in pieces."""
        log = TextResourceContents(uri="harbour://log", text="all well", mime_type="text/plain")
        return [
            TextContent(text="here"),
            ImageContent(data="aGVsbG8=", mime_type="image/png"),
            ResourceLink(name="pilot", uri="harbour://pilot", mime_type="text/plain"),
            EmbeddedResource(resource=log),
        ]

    @server.tool(annotations=READS)
    def sinks() -> str:
        """Fails."""
        raise ValueError("she is leaking")

    @server.tool(annotations=READS)
    def surroundings() -> dict[str, str]:
        """What the program sees of the environment."""
        return dict(os.environ)


def _writes(server: MCPServer, note_down: NoteDown) -> None:
    @server.tool()
    def book(boat: str) -> str:
        """Books a boat."""
        note_down(f"book {boat}")
        return f"{boat} is yours"

    @server.tool(annotations=REPEATS)
    def moor(boat: str) -> str:
        """Moors a boat."""
        note_down(f"moor {boat}")
        return f"{boat} is moored"

    @server.tool()
    async def sail(boat: str, seconds: float, context: Context) -> str:
        """Sails a boat, for a while."""
        note_down(f"sail {boat}")
        await context.report_progress(1, 3, "cast off")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            note_down(f"called back {boat}")
            raise
        note_down(f"arrived {boat}")
        return "arrived"

    @server.tool()
    def explode() -> str:
        """Kills the server in the middle of the call."""
        note_down("explode")
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"


def _others(server: MCPServer) -> None:
    @server.resource("harbour://pilot", mime_type="text/plain")
    def pilot() -> str:
        """How to come in."""
        return "keep to starboard"

    @server.resource("harbour://berth/{number}")
    def berth(number: str) -> str:
        """A berth."""
        return f"berth {number} is free"

    @server.prompt()
    def hail(boat: str) -> str:
        """Hails a boat."""
        return f"Ahoy, {boat}!"


def serve(journal: str, way: str = "stdio", port: str = "0") -> None:
    """Serves until it is told to stop."""
    server = harbour(Path(journal))
    match way:
        case "http":
            server.run("streamable-http", port=int(port))
        case "sse":
            server.run("sse", port=int(port))
        case _:
            sys.stderr.write("the harbour is open\n")
            server.run("stdio")


if __name__ == "__main__":
    serve(*sys.argv[1:])
