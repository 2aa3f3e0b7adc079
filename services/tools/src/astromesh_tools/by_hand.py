"""Whether a caller may call a tool by hand, outside any run: by the agent's permissions, and as who may approve. Pure.

In a run both are the runtime's: it judges a call before its intent, and asks a human where the tool's approval says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.tool_approval import NEVER, ApprovalRule
from astromesh_core.resources.tool_permissions import Permits, given_arguments

_RANKS: Final[Mapping[str, int]] = {"viewer": 1, "user": 2, "admin": 3}


class ByHand:
    """What one version of an agent says of calls by hand."""

    def __init__(self, spec: AgentSpec) -> None:
        self._permits = Permits(spec.permissions) if spec.permissions is not None else None
        self._approvals = {
            tool.name: ApprovalRule(tool.approval, tool.approval_role or "user")
            for tool in spec.tools
            if tool.approval is not None and tool.approval != NEVER
        }

    def refusal(self, name: str, spec: ToolSpec | None, arguments: str, role: str) -> str:
        """Why a caller of the role may not make the call; empty where it may."""
        if self._permits is None and not self._approvals:
            return ""
        given = given_arguments(arguments, spec.parameters_json if spec is not None else "")
        refused = self._permits.refusal(name, role, given) if self._permits is not None else ""
        return refused or self._unapproved(name, spec, given, role)

    def _unapproved(self, name: str, spec: ToolSpec | None, given: Mapping[str, JsonValue] | None, role: str) -> str:
        rule = self._approvals.get(spec.origin.entry if spec is not None and spec.HasField("origin") else name)
        if rule is None or _RANKS.get(role, 0) >= _RANKS[rule.role] or not rule.asks(given or {}):
            return ""
        return f"such a call of {name} is approved by the role {rule.role!r}: call it as one, or in a run"
