"""The operations of the calculator, each bounded: whole numbers in their length, decimals in their digits."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from typing import Final

from astromesh_core.errors import InvalidInput

Number = int | Decimal

DIGITS: Final = 34
MOST_BITS: Final = 8_192
"""Of a whole number: some 2,400 digits."""

LARGEST_FACTORIAL: Final = 800
MOST_NUMBERS: Final = 500
"""That one function takes."""

CONTEXT: Final = Context(
    prec=DIGITS,
    rounding=ROUND_HALF_EVEN,
    Emin=-6_143,
    Emax=6_144,
    traps=[DivisionByZero, InvalidOperation, Overflow],
)


@dataclass(frozen=True)
class Function:
    """A function, and how many numbers it takes."""

    call: Callable[..., Number]
    fewest: int = 1
    most: int = 1


def negative(value: Number) -> Number:
    """The number with the other sign."""
    return -value if isinstance(value, int) else CONTEXT.minus(value)


def _decimal(value: Number) -> Decimal:
    return CONTEXT.create_decimal(value)


def _bounded(value: int) -> int:
    if value.bit_length() > MOST_BITS:
        raise InvalidInput("the result is too large")
    return value


def _simplest(value: Decimal) -> Number:
    """A whole number where a decimal is one exactly."""
    return int(value) if value.adjusted() < DIGITS and value == value.to_integral_value() else value


def _add(a: Number, b: Number) -> Number:
    return _bounded(a + b) if isinstance(a, int) and isinstance(b, int) else CONTEXT.add(_decimal(a), _decimal(b))


def _subtract(a: Number, b: Number) -> Number:
    return _add(a, negative(b))


def _multiply(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int):
        return _bounded(a * b)
    return CONTEXT.multiply(_decimal(a), _decimal(b))


def _divide(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int) and b and a % b == 0:
        return a // b
    if not b:
        raise DivisionByZero
    return CONTEXT.divide(_decimal(a), _decimal(b))


def _floor_divide(a: Number, b: Number) -> Number:
    if not b:
        raise DivisionByZero
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    return _floor(CONTEXT.divide(_decimal(a), _decimal(b)))


def _modulo(a: Number, b: Number) -> Number:
    """The remainder, of the sign of `b`: what goes with //."""
    if not b:
        raise DivisionByZero
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    rest = CONTEXT.remainder(_decimal(a), _decimal(b))
    return CONTEXT.add(rest, _decimal(b)) if rest and (rest < 0) != (b < 0) else rest


def _power(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if abs(a) > 1 and a.bit_length() * b > MOST_BITS:
            raise InvalidInput("the result is too large")
        return a**b
    if not a and b < 0:
        raise DivisionByZero
    return CONTEXT.power(_decimal(a), _decimal(b))


OPERATORS: Final[dict[type[ast.operator], Callable[[Number, Number], Number]]] = {
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Mult: _multiply,
    ast.Div: _divide,
    ast.FloorDiv: _floor_divide,
    ast.Mod: _modulo,
    ast.Pow: _power,
}


def _absolute(value: Number) -> Number:
    return negative(value) if value < 0 else value


def _round(value: Number, places: Number = 0) -> Number:
    """To places behind the point, halves away from zero, as people round."""
    if not isinstance(places, int) or abs(places) > DIGITS:
        raise InvalidInput(f"round takes a whole number of places, {DIGITS} at most")
    if isinstance(value, int):
        unit = 10 ** max(-places, 0)
        rounded = (abs(value) + unit // 2) // unit * unit
        return -rounded if value < 0 else rounded
    if places > 0 and -int(value.as_tuple().exponent) <= places:
        return value
    digits = max(DIGITS, value.adjusted() + max(places, 0) + 2)
    wide = Context(prec=digits, traps=[InvalidOperation])
    return _simplest(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, wide))


def _floor(value: Number) -> Number:
    return value if isinstance(value, int) else _bounded(int(value.to_integral_value(ROUND_FLOOR)))


def _ceil(value: Number) -> Number:
    return value if isinstance(value, int) else _bounded(int(value.to_integral_value(ROUND_CEILING)))


def _sum(*values: Number) -> Number:
    total: Number = 0
    for value in values:
        total = _add(total, value)
    return total


def _mean(*values: Number) -> Number:
    return _divide(_sum(*values), len(values))


def _square_root(value: Number) -> Number:
    if isinstance(value, int) and value >= 0 and math.isqrt(value) ** 2 == value:
        return math.isqrt(value)
    return CONTEXT.sqrt(_decimal(value))


def _logarithm(value: Number, to: Number | None = None) -> Number:
    if value <= 0 or (to is not None and (to <= 0 or to == 1)):
        raise InvalidInput("a logarithm is of a number above 0, to a base above 0 that is not 1")
    natural = CONTEXT.ln(_decimal(value))
    if to is None:
        return natural
    # One digit more than there are is lost in the division: log(8, 2) is 3.
    return _simplest(Context(prec=DIGITS - 2).divide(natural, CONTEXT.ln(_decimal(to))))


def _binary_logarithm(value: Number) -> Number:
    return _logarithm(value, 2)


def _common_logarithm(value: Number) -> Number:
    if value <= 0:
        raise InvalidInput("a logarithm is of a number above 0")
    return _simplest(CONTEXT.log10(_decimal(value)))


def _exponential(value: Number) -> Number:
    return CONTEXT.exp(_decimal(value))


def _factorial(value: Number) -> Number:
    if not isinstance(value, int) or not 0 <= value <= LARGEST_FACTORIAL:
        raise InvalidInput(f"factorial is of a whole number from 0 to {LARGEST_FACTORIAL}")
    return _bounded(math.factorial(value))


def _whole(name: str, function: Callable[..., int]) -> Callable[..., Number]:
    def call(*values: Number) -> Number:
        if not all(isinstance(value, int) for value in values):
            raise InvalidInput(f"{name} is of whole numbers")
        return _bounded(function(*values))

    return call


def _of_float(function: Callable[[float], float]) -> Callable[[Number], Number]:
    def call(value: Number) -> Number:
        # Raises ValueError outside of what the function is defined for, OverflowError for what is no float.
        return _simplest(Decimal(f"{function(float(value)):.15g}"))

    return call


def _of_angle(function: Callable[[float], float]) -> Callable[[Number], Number]:
    def call(value: Number) -> Number:
        angle = float(value)
        found = function(angle)
        # sin(pi) is 0: an angle of that size is itself not known to more places.
        return _simplest(Decimal(f"{round(found, 15) if abs(angle) >= 1 else found:.15g}"))

    return call


def _smallest(*values: Number) -> Number:
    return min(values)


def _largest(*values: Number) -> Number:
    return max(values)


FUNCTIONS: Final = {
    "abs": Function(_absolute),
    "round": Function(_round, most=2),
    "floor": Function(_floor),
    "ceil": Function(_ceil),
    "min": Function(_smallest, most=MOST_NUMBERS),
    "max": Function(_largest, most=MOST_NUMBERS),
    "sum": Function(_sum, most=MOST_NUMBERS),
    "mean": Function(_mean, most=MOST_NUMBERS),
    "sqrt": Function(_square_root),
    "exp": Function(_exponential),
    "ln": Function(_logarithm),
    "log": Function(_logarithm, most=2),
    "log2": Function(_binary_logarithm),
    "log10": Function(_common_logarithm),
    "sin": Function(_of_angle(math.sin)),
    "cos": Function(_of_angle(math.cos)),
    "tan": Function(_of_angle(math.tan)),
    "asin": Function(_of_float(math.asin)),
    "acos": Function(_of_float(math.acos)),
    "atan": Function(_of_float(math.atan)),
    "degrees": Function(_of_float(math.degrees)),
    "radians": Function(_of_float(math.radians)),
    "factorial": Function(_factorial),
    "gcd": Function(_whole("gcd", math.gcd), most=MOST_NUMBERS),
    "lcm": Function(_whole("lcm", math.lcm), most=MOST_NUMBERS),
}
