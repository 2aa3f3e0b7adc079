"""Conditions of a resource over the arguments of a tool call: `amount > 100`, `to.endswith("@example.com")`.

A Jinja2 expression in the immutable sandbox, compiled once. Pure: it sees the values that it is given and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST: Final = 2_000
"""Characters of a condition."""

WHOLE: Final = "arguments"
"""The name by which a condition sees all values at once, unless a value has that name itself."""


_GROW: Final = frozenset(
    ("center", "expandtabs", "format", "format_map", "ljust", "rjust", "replace", "translate", "zfill")
)
"""Of texts: what may make a long one of a short one."""

_FILTERS: Final = frozenset(
    (
        *("abs", "count", "d", "default", "first", "float", "int", "items", "join", "last", "length", "list", "lower"),
        *(
            "map",
            "max",
            "min",
            "reject",
            "rejectattr",
            "round",
            "select",
            "selectattr",
            "sort",
            "string",
            "sum",
            "trim",
        ),
        *("unique", "upper"),
    )
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. Equal where its text is."""

    text: str
    names: frozenset[str] = field(compare=False)
    """What it refers to, `arguments` left out."""
    _value: Callable[[Mapping[str, object]], object] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Compiles a condition. Raises InvalidInput, with the reason, for what is none."""
        from jinja2 import TemplateError
        from jinja2.meta import find_undeclared_variables

        if not text.strip() or len(text) > LONGEST:
            raise InvalidInput(f"a condition is an expression of 1 to {LONGEST:,} characters")
        environment = _environment()
        try:
            compiled = environment.compile_expression(text, undefined_to_none=False)
            names = find_undeclared_variables(environment.parse("{{ (" + text + "\n) }}"))
        except TemplateError as error:
            raise InvalidInput(f"{text!r} is no expression: {error}") from error
        return cls(text, frozenset(names) - {WHOLE}, compiled)

    def holds(self, arguments: Mapping[str, JsonValue], *, otherwise: bool) -> bool:
        """Whether it holds for these values. `otherwise`, the safe side, where nobody can tell: it names a value that
        is not there, or compares what cannot be compared."""
        from jinja2 import TemplateError

        try:
            return bool(self._value({WHOLE: arguments, **arguments}))
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError):
            return otherwise


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    # Few resources hold a condition, and reading Jinja2 costs as much as reading them.
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Expressions(ImmutableSandboxedEnvironment):
        # A call's arguments are what a model wrote: no number of theirs may cost a process its memory or its time.
        intercepted_binops = frozenset(("**", "*", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = all(isinstance(value, int | float) and abs(value) < 1e100 for value in (left, right))
            if operator == "**" or not numbers:
                raise SecurityError(f"{operator} is for numbers alone, and ** for none")
            return super().call_binop(context, operator, left, right)

        def wrap_str_format(self, value: Any) -> Any:
            # Not the sandbox's own `format`, which knows no bound either.
            return None

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return attr not in _GROW and super().is_safe_attribute(obj, attr, value)

    environment = Expressions(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    for name in environment.filters.keys() - _FILTERS:
        del environment.filters[name]
    return environment
