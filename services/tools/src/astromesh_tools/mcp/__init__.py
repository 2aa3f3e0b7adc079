"""Tools, resources and prompts of MCP servers, by the official SDK (extra `mcp`)."""
