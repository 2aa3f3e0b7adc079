"""`astromesh mcp`: a mesh's agents for clients that speak MCP with a process over its standard streams."""
