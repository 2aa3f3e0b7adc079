"""What a tool says of calls that went wrong: how to find out what became of one, and how to undo one. Both name another
tool of the agent; calling it is the runtime's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from pydantic import Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.placeholders import names
from astromesh_core.resources.spelling import Spec, is_mapping
from astromesh_core.resources.tool_approval import ConditionText

_GIVEN: Final = frozenset(("arguments", "idempotency_key"))
"""Names that every place knows beside the arguments of the call: all of them at once, and the key of the call."""

_RESULT: Final = "result"


class OtherCall(Spec):
    """A call of another tool. Places such as `{{ order_id }}` are filled by the arguments of the first call."""

    tool: str = Field(min_length=1)
    arguments: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    pause_seconds: float = Field(default=1, ge=0, le=60)
    """Before the second attempt; doubled before each further one."""

    @field_validator("arguments")
    @classmethod
    def _has_places(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        list(names(value))
        return value

    def check_places(self, parameters: Mapping[str, JsonValue], *given: str) -> None:
        """Raises PydanticCustomError for a place that nothing fills. Parameters of which nothing is known are not
        checked."""
        known = parameters.get("properties")
        if not is_mapping(known) or not known:
            return
        places = known.keys() | _GIVEN | set(given)
        for name in names(self.arguments):
            if name not in places:
                context = {"name": name, "hint": f"it may name {', '.join(sorted(places))}"}
                raise PydanticCustomError("placeholder", "names {name}, which there is not", context)


class Reconcile(OtherCall):
    """How to find out what became of a write without an answer: a read of its state, and what that says.

    Conditions are over `answer`, what the read answered (parsed where it is JSON), and `arguments`, of the write.
    """

    succeeded: ConditionText
    failed: ConditionText | None = None
    attempts: int = Field(default=5, ge=1, le=20)


class Compensate(OtherCall):
    """How to undo a call that was done. Its places know `result`, what that answered, too."""

    attempts: int = Field(default=3, ge=1, le=20)
    when_unknown: bool = False
    """Undoing is safe whether the call was done or not, so it is undone though nobody knows."""


def check_recovery(
    tool: str,
    reconcile: Reconcile | None,
    compensate: Compensate | None,
    effects: Mapping[str, str | None],
    *,
    cached: Collection[str] = (),
    complete: bool,
) -> None:
    """Raises PydanticCustomError where a tool is looked up, or undone, by one that there is not, or that does not read,
    or answers again what it answered before.

    `effects` of the agent's tools by name, as far as their declarations tell; not `complete` where some are discovered
    when a run starts. `cached`: those that answer from a cache.
    """
    for field, other in (("reconcile", reconcile), ("compensate", compensate)):
        if other is not None and (other.tool == tool or (complete and other.tool not in effects)):
            hint = f"other tools are {', '.join(name for name in effects if name != tool) or 'none'}"
            context = {"name": tool, "field": field, "other": repr(other.tool), "hint": hint}
            raise PydanticCustomError("tools", "have {name}, whose {field} names {other}", context)
    if reconcile is not None and reconcile.tool in cached:
        context = {"name": tool, "other": reconcile.tool, "hint": "leave the cache out of it"}
        raise PydanticCustomError("tools", "have {name}, whose reconcile names {other}, which has a cache", context)
    effect = effects.get(reconcile.tool) if reconcile is not None else None
    if reconcile is not None and effect not in (None, "read"):
        context = {"name": tool, "other": reconcile.tool, "effect": effect, "hint": "name a tool of effect read"}
        raise PydanticCustomError("tools", "have {name}, whose reconcile names {other}, of effect {effect}", context)


def check_effect(
    effect: str | None,
    reconcile: Reconcile | None,
    compensate: Compensate | None,
    parameters: Mapping[str, JsonValue],
) -> None:
    """Raises PydanticCustomError where a tool says how to look up or to undo what it never does, or by places that
    nothing fills. The effect is None where it is not declared."""
    if reconcile is not None:
        if effect in ("read", "idempotent"):
            hint = "declare effect: write, or leave reconcile out"
            raise PydanticCustomError("reconcile", "looks up writes, and this makes none", {"hint": hint})
        reconcile.check_places(parameters)
    if compensate is not None:
        if effect == "read":
            hint = "declare effect: write or idempotent, or leave compensate out"
            raise PydanticCustomError("compensate", "undoes what changes nothing", {"hint": hint})
        compensate.check_places(parameters, _RESULT)
