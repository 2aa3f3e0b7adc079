"""Which tool calls an agent may make, and for whom: rules that allow and deny, and what they say of a call. Pure.

1. A rule is about the tools of a pattern, the callers of some roles, and the arguments for which its condition holds.
2. Deny wins. 3. Where anything is allowed, only that may be done; where nothing is, all that is not denied.
4. What nobody can tell (a condition that fails, a caller without a role) is denied.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import translate
from typing import Annotated, Final, Literal, Self

import orjson
from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.errors import InvalidInput
from astromesh_core.expressions import Condition
from astromesh_core.resources.spelling import Items, Spec, is_mapping, shaped, spelled

CallerRole = Literal["viewer", "user", "admin"]
"""Of an API key."""

_ANY: Final = re.compile(r"[*?\[]")


class PermissionRule(Spec):
    """Tool calls that are meant alike. A text is the pattern of a rule about every caller and every argument."""

    tool: Annotated[str, shaped(r"[A-Za-z0-9_*?\[\]!-]{1,100}", "a tool's name or a pattern of names", "search_*")]
    """As of a shell: `*`, `?`, `[abc]`."""
    when: str | None = None
    """An expression over the arguments, such as `amount > 100`."""
    roles: Items[CallerRole] = ()
    """None named: every role."""
    reason: str = Field(default="", max_length=500)
    """What a model is told beside the rule."""

    @field_validator("when")
    @classmethod
    def _is_a_condition(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                Condition.parse(value)
        except InvalidInput as error:
            raise PydanticCustomError("condition", "is no condition: {told}", {"told": error.message}) from error
        return value

    def __str__(self) -> str:
        parts = [self.tool, f"when {self.when}" if self.when else "", f"for {', '.join(self.roles)}" * bool(self.roles)]
        return " ".join(part for part in parts if part)


def _rule(value: object) -> object:
    return {"tool": value} if isinstance(value, str) else value


Rules = Items[Annotated[PermissionRule, BeforeValidator(_rule)]]


class ToolPermissions(Spec):
    """What an agent may do with its tools."""

    allow: Rules = Field(default=(), validation_alias=spelled("allow", "allowed_actions"))
    deny: Rules = Field(default=(), validation_alias=spelled("deny", "denied_actions"))

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.allow and not self.deny:
            raise PydanticCustomError("permissions", "allow and deny nothing", {"hint": "name tools, or leave it out"})
        return self

    def check_names(self, tools: Collection[str]) -> None:
        """Raises PydanticCustomError for a rule about one tool that is none of these: a typo would leave it open."""
        for rule in (*self.allow, *self.deny):
            if not _ANY.search(rule.tool) and rule.tool not in tools:
                context = {"name": repr(rule.tool), "hint": f"tools are {', '.join(tools) or 'none'}"}
                raise PydanticCustomError("permissions", "are about the tool {name}, which there is not", context)


class Permits:
    """An agent's permissions, compiled."""

    def __init__(self, permissions: ToolPermissions) -> None:
        self._allow = [_Compiled(rule) for rule in permissions.allow]
        self._deny = [_Compiled(rule) for rule in permissions.deny]

    def refusal(self, tool: str, role: str, arguments: Mapping[str, JsonValue] | None) -> str:
        """Why a caller of the role may not have the tool called so; empty where it may. None for arguments that are no
        object: nothing holds for them."""
        for rule in self._deny:
            if rule.matches(tool) and rule.is_for(role, unknown=True) and rule.holds(arguments, otherwise=True):
                return rule.told(tool, "denied by")
        if not self._allow:
            return ""
        about = [rule for rule in self._allow if rule.matches(tool)]
        if any(rule.is_for(role, unknown=False) and rule.holds(arguments, otherwise=False) for rule in about):
            return ""
        return about[0].told(tool, "allowed only by") if about else f"this agent may not call {tool}"


class _Compiled:
    def __init__(self, rule: PermissionRule) -> None:
        self._rule = rule
        self._pattern = re.compile(translate(rule.tool))
        self._condition = Condition.parse(rule.when) if rule.when is not None else None

    def matches(self, tool: str) -> bool:
        return self._pattern.match(tool) is not None

    def is_for(self, role: str, *, unknown: bool) -> bool:
        if not self._rule.roles:
            return True
        return role in self._rule.roles if role else unknown

    def holds(self, arguments: Mapping[str, JsonValue] | None, *, otherwise: bool) -> bool:
        if self._condition is None:
            return True
        return otherwise if arguments is None else self._condition.holds(arguments, otherwise=otherwise)

    def told(self, tool: str, how: str) -> str:
        reason = f": {self._rule.reason}" if self._rule.reason else ""
        return f"this call of {tool} is not permitted: {how} the rule {str(self._rule)!r}{reason}"


def given_arguments(arguments: str, parameters: str) -> dict[str, JsonValue] | None:
    """A call's arguments, and the default of each parameter that it leaves out; None where they are no object.

    Both are JSON text: as the model wrote them, and as the catalogue has the tool's schema.
    """
    try:
        values: JsonValue = orjson.loads(arguments or "{}")
        schema: JsonValue = orjson.loads(parameters or "{}")
    except orjson.JSONDecodeError:
        return None
    if not is_mapping(values):
        return None
    properties = schema.get("properties") if is_mapping(schema) else None
    known = properties if is_mapping(properties) else {}
    return {name: each["default"] for name, each in known.items() if is_mapping(each) and "default" in each} | values
