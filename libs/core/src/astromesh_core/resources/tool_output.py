"""Whose words a tool's answer may hold. Marking them as data where a model reads them is the runtime's."""

from __future__ import annotations

from typing import Final

from astromesh_core.resources.agent_tools import BuiltinTool, InternalTool, Tool

_COMPUTED: Final = frozenset(("ask_human", "calculator", "datetime_now", "json_query"))
"""Built-in tools that answer with what they were called with, or with what the run's own people say."""


def tells_of_others(tool: Tool) -> bool:
    """Whether a tool's answer may hold what neither the agent's owner nor its user wrote: documents, pages, what
    servers say. A function of the owner's own answers for itself."""
    if isinstance(tool, BuiltinTool):
        return tool.tool not in _COMPUTED
    return not isinstance(tool, InternalTool)
