"""Checks the OpenAPI documents of a config folder that its agents name: whether tools come of them. Those at addresses
are a mesh's to fetch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_tools import OpenapiTool
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.resource import Resource


def document_problems(resource: Resource, config_folder: Path) -> Iterator[Problem]:
    """What keeps an agent's OpenAPI entries from being tools, each with its place. Code: BadDocument."""
    tools = resource.spec.tools if isinstance(resource.spec, AgentSpec) else ()
    for index, tool in enumerate(tools):
        if isinstance(tool, OpenapiTool) and not tool.is_remote:
            reason = _reason(tool, config_folder)
            if reason:
                file, field, line = resource.locate(("tools", index, "spec"))
                yield Problem(file, line, field, reason, code="BadDocument", resource=str(resource.key))


def _reason(tool: OpenapiTool, config_folder: Path) -> str:
    # The service of tools is read only where a file has such an entry.
    from astromesh_tools.openapi.fetching import read_file
    from astromesh_tools.openapi.source import offered

    try:
        offered(tool, read_file(tool, config_folder))
    except InvalidInput as error:
        return error.message
    return ""
