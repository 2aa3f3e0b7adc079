"""What an agent's version says of a tool beside its schema: when a human is asked, how a call is looked up or undone.

Compiled once for a version. A tool of which nothing is said has no controls, and its calls cost nothing more. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_tools import BuiltinTool, Tool
from astromesh_core.resources.builtin_configs import AskHumanConfig
from astromesh_core.resources.tool_approval import NEVER, ApprovalRule
from astromesh_core.resources.tool_recovery import Compensate, Reconcile


@dataclass(frozen=True, slots=True)
class Controls:
    """Of one declared tool."""

    approval: ApprovalRule | None = None
    question: AskHumanConfig | None = None
    """Of a tool whose calls are questions to a human."""
    reconcile: Reconcile | None = None
    compensate: Compensate | None = None


def controls_of(spec: AgentSpec) -> dict[str, Controls]:
    """The controls of an agent's tools by their names in its file, of those that have any."""
    found = {tool.name: _controls(tool) for tool in spec.tools}
    return {name: controls for name, controls in found.items() if controls is not None}


def control_of(controls: Mapping[str, Controls], name: str, spec: ToolSpec | None) -> Controls | None:
    """The controls of a tool of the catalogue: of one that a server offers, those of the server's entry."""
    if not controls:
        return None
    return controls.get(spec.origin.entry if spec is not None and spec.HasField("origin") else name)


def _controls(tool: Tool) -> Controls | None:
    config = tool.config if isinstance(tool, BuiltinTool) else None
    question = config if isinstance(config, AskHumanConfig) else None
    approval = None
    if tool.approval is not None and tool.approval != NEVER:
        approval = ApprovalRule(tool.approval, tool.approval_role or "user", tool.approval_timeout_seconds)
    if approval is None and question is None and tool.reconcile is None and tool.compensate is None:
        return None
    return Controls(approval, question, tool.reconcile, tool.compensate)
