"""Where MCP clients find the gateway."""

from __future__ import annotations

from typing import Final

STREAMABLE: Final = "/mcp"
EVENTS: Final = "/mcp/sse"
"""Of clients that know the transport of 2024-11-05 alone."""
MESSAGES: Final = "/mcp/messages"
