"""Agents as tools of MCP clients. Nothing here but `endpoint` is imported before the first client comes."""
