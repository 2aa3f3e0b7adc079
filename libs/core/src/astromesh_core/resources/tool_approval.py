"""When a human is asked before a tool is called, who may decide, and for how long: what a tool says of it. Asking is
the runtime's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from astromesh_core.errors import InvalidInput
from astromesh_core.expressions import Condition
from astromesh_core.resources.spelling import is_mapping

_WHEN: Final = "when: "
ALWAYS: Final = "always"
NEVER: Final = "never"


def _condition(text: str) -> str:
    try:
        Condition.parse(text)
    except InvalidInput as error:
        raise PydanticCustomError("condition", "is no condition: {told}", {"told": error.message}) from error
    return text


ConditionText = Annotated[str, AfterValidator(_condition)]
"""An expression of `astromesh_core.expressions`."""


def _approval(value: object) -> object:
    if is_mapping(value) and value.keys() == {"when"} and isinstance(value["when"], str):
        value = _WHEN + value["when"]
    if isinstance(value, str) and value.startswith(_WHEN):
        return _WHEN + _condition(value.removeprefix(_WHEN).strip())
    if value not in (ALWAYS, NEVER):
        hint = "always, never, or `when:` with an expression over the arguments"
        raise PydanticCustomError("approval", "says of no call whether a human is asked", {"hint": hint})
    return value


Approval = Annotated[str, BeforeValidator(_approval)]
"""`always`, `never`, or `when: amount > 100`, which may be written as a mapping too. Kept as text."""

Approver = Literal["user", "admin"]
"""What the API key of whoever decides has to be, at least."""

WaitSeconds = Annotated[float, Field(gt=0, le=31_536_000)]
"""How long a human has to decide: up to a year."""


class ApprovalRule:
    """A tool's `approval`, compiled."""

    def __init__(self, approval: str, role: Approver = "user", seconds: float | None = None) -> None:
        self.role = role
        self.seconds = seconds
        """None: for as long as it takes."""
        self._always = approval == ALWAYS
        self._condition = Condition.parse(approval.removeprefix(_WHEN)) if approval.startswith(_WHEN) else None

    @property
    def names(self) -> frozenset[str]:
        """The arguments that the condition names."""
        return self._condition.names if self._condition is not None else frozenset()

    def asks(self, arguments: Mapping[str, JsonValue]) -> bool:
        """Whether a human is asked before a call with these arguments. Where nobody can tell, one is."""
        return self._always or (self._condition is not None and self._condition.holds(arguments, otherwise=True))


def check_names(approval: str, parameters: Mapping[str, JsonValue]) -> None:
    """Raises PydanticCustomError for a condition over an argument that the tool does not take."""
    known = parameters.get("properties")
    if not is_mapping(known) or not known:
        return
    unknown = sorted(ApprovalRule(approval).names - known.keys())
    if unknown:
        context = {"name": unknown[0], "hint": f"parameters are {', '.join(known)}"}
        raise PydanticCustomError("approval", "names the parameter {name}, which there is not", context)
