"""`calculator`: an arithmetic expression, read by Python's grammar and computed here. Nothing is evaluated as code.

Whole numbers are exact, up to a bound; anything else is decimal to 34 digits (IEEE 754 decimal128), as a model writes
it: 0.1 + 0.2 is 0.3. The last four are for rounding and not shown. Trigonometry is that of floats, to 15 digits.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from decimal import MAX_EMAX, Context, Decimal, DecimalException, DivisionByZero, Overflow
from typing import Final

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_tools.builtin import arithmetic
from astromesh_tools.builtin.arithmetic import Number

DEEPEST: Final = 50
"""Levels of an expression."""

LONGEST_ANSWER: Final = 40
"""Digits of a decimal that are written without an exponent."""

DIGITS_SHOWN: Final = 30

_CONSTANTS: Final = {
    "pi": Decimal("3.141592653589793238462643383279503"),
    "e": Decimal("2.718281828459045235360287471352662"),
}
_WRONG: Final[dict[type[ast.AST], str]] = {
    ast.BitXor: "^ is no operator here; write ** for powers",
    ast.Tuple: "numbers are written without commas between thousands",
    ast.Compare: "there are no comparisons; compute both sides",
}


class Calculator:
    """Computes."""

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """The result as text, which no JSON number shortens. Everything is bounded, so it takes no time to speak of."""
        return {"result": calculated(str(arguments["expression"]))}


def calculated(expression: str) -> str:
    """The value of an expression. Raises InvalidInput with what is wrong, in words for a model."""
    text = expression.strip().removeprefix("=").strip()
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
        raise InvalidInput(f"{text[:80]!r} is no arithmetic expression: {reason}") from error
    try:
        return _written(_Reading(text).value(tree.body))
    except DivisionByZero as error:
        raise InvalidInput("this divides by zero") from error
    except Overflow as error:
        raise InvalidInput("the result is too large") from error
    except (DecimalException, ValueError, OverflowError) as error:
        raise InvalidInput("this has no real value, or one that is too large to compute") from error


class _Reading:
    """One expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.encode().splitlines() or [b""]

    def value(self, node: ast.expr, depth: int = 0) -> Number:
        if depth > DEEPEST:
            raise InvalidInput(f"the expression is nested more than {DEEPEST} levels deep")
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                return self._number(node)
            case ast.Name():
                return self._constant(node.id)
            case ast.UnaryOp(op=ast.USub()):
                return arithmetic.negative(self.value(node.operand, depth + 1))
            case ast.UnaryOp(op=ast.UAdd()):
                return self.value(node.operand, depth + 1)
            case ast.BinOp():
                return self._chain(node, depth)
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                return self._called(name, node.args, depth)
            case _:
                shown = ast.get_source_segment(self._text, node) or self._text
                raise InvalidInput(_WRONG.get(type(node), f"{shown[:80]!r} is not arithmetic"))

    def _chain(self, node: ast.BinOp, depth: int) -> Number:
        """1 + 2 + 3 leans to the left, one node in the other; its links are of one level all the same."""
        links, first = [node], node.left
        while isinstance(first, ast.BinOp):
            links.append(first)
            first = first.left
        value = self.value(first, depth + 1)
        for link in reversed(links):
            operation = arithmetic.OPERATORS.get(type(link.op))
            if operation is None:
                raise InvalidInput(_WRONG.get(type(link.op), "this operator is not known; use + - * / // % **"))
            value = operation(value, self.value(link.right, depth + 1))
        return value

    def _number(self, node: ast.Constant) -> Number:
        # As it is written: a float would have lost digits.
        line = self._lines[node.lineno - 1]
        text = line[node.col_offset : node.end_col_offset].decode().replace("_", "")
        return node.value if isinstance(node.value, int) else arithmetic.CONTEXT.create_decimal(text)

    def _constant(self, name: str) -> Number:
        if name in arithmetic.FUNCTIONS:
            raise InvalidInput(f"{name} is a function: write {name}(…)")
        if name.lower() not in _CONSTANTS:
            raise InvalidInput(f"{name[:80]!r} is not known; there are the constants {', '.join(_CONSTANTS)}")
        return _CONSTANTS[name.lower()]

    def _called(self, name: str, given: list[ast.expr], depth: int) -> Number:
        function = arithmetic.FUNCTIONS.get(name)
        if function is None:
            raise InvalidInput(f"there is no function {name[:80]!r}; there are {', '.join(arithmetic.FUNCTIONS)}")
        # sum([1, 2]) means sum(1, 2).
        items = given[0].elts if len(given) == 1 and isinstance(given[0], ast.List | ast.Tuple) else given
        if not function.fewest <= len(items) <= function.most:
            raise InvalidInput(f"{name} does not take {len(items)} numbers")
        return function.call(*(self.value(item, depth + 1) for item in items))


def _written(value: Number) -> str:
    if isinstance(value, int):
        return str(value)
    if value == value.to_integral_value() and value.adjusted() < LONGEST_ANSWER:
        return str(int(value))
    shown = value.normalize(Context(prec=DIGITS_SHOWN, Emax=MAX_EMAX, Emin=-MAX_EMAX))
    return f"{shown:f}" if -20 <= shown.adjusted() < LONGEST_ANSWER else f"{shown:e}"
