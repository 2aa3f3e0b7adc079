"""Handing a conversation to another agent: the tool by which a model does it, and what that means for its run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import orjson
from pydantic import JsonValue

from astromesh.v1.run_events_pb2 import Handoff
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, ToolSpec
from astromesh_core.errors import InvalidInput

HAND_OFF: Final = "hand_off"
"""What the tool is called. It ends the run that calls it: nothing is executed."""


class HandedOver(Exception):
    """A model handed its conversation to another agent. No failure of the run: it ends with that."""

    def __init__(self, agent: str, reason: str) -> None:
        super().__init__(f"handed to {agent}")
        self.agent = agent
        self.reason = reason


def hand_off_tool(handoffs: Iterable[Handoff]) -> ToolSpec:
    """The tool as the model's catalogue lists it."""
    told = {each.agent: each.description for each in handoffs}
    agents = "; ".join(f"{agent}: {description}" if description else agent for agent, description in told.items())
    parameters: JsonValue = {
        "type": "object",
        "properties": {
            "agent": {"enum": list(told), "description": "Who is to go on."},
            "reason": {"type": "string", "description": "Why, and what they should know."},
        },
        "required": ["agent"],
        "additionalProperties": False,
    }
    return ToolSpec(
        name=HAND_OFF,
        description=f"Hands the whole conversation to another agent, who answers instead of you. {agents}",
        parameters_json=orjson.dumps(parameters).decode(),
        effect=TOOL_EFFECT_KIND_READ,
        type="handoff",
    )


def handed_to(arguments: str, agents: Collection[str]) -> HandedOver:
    """Whom a call with these arguments (JSON text) hands the conversation to. Raises InvalidInput."""
    try:
        given: JsonValue = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the arguments are not JSON: {error}") from None
    if not isinstance(given, dict) or given.get("agent") not in agents:
        raise InvalidInput(f"agent must be one of {', '.join(agents)}")
    reason = given.get("reason")
    return HandedOver(str(given["agent"]), reason if isinstance(reason, str) else "")
