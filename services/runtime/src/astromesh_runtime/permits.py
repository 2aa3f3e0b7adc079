"""Whether a tool call may be made: judged once, before its intent. Pure.

What the agent's version says, the call's arguments and the caller's role decide it, and all of them stand in the log:
whoever takes the run over judges alike. A call that is denied is never intended; its outcome is the denial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from astromesh_core.errors import Denied
from astromesh_core.events.contents import plain
from astromesh_core.resources.tool_permissions import given_arguments

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import ToolCall, ToolSpec
    from astromesh_core.resources.tool_permissions import Permits


def judge(permits: Permits | None, call: ToolCall, spec: ToolSpec | None, role: str) -> Denied | None:
    """Why the call may not be made; None where it may. `spec` is None for a tool that the catalogue does not have."""
    if permits is None:
        return None
    arguments = given_arguments(plain(call.arguments), spec.parameters_json if spec is not None else "")
    refusal = permits.refusal(call.name, role, arguments)
    return Denied(refusal) if refusal else None
