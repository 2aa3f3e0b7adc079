"""Filters on metadata as SQL over a jsonb column: every value is a parameter, none stands in the text. Pure.

jsonb keeps kinds apart and compares numbers as decimals, so 1 and 1.0 are one; what `@>` asks, the index answers.
"""

from __future__ import annotations

import json
from typing import LiteralString, TypeAlias

from psycopg.sql import SQL, Composed
from psycopg.types.json import Jsonb

from astromesh_core.filters import Equals, Every, Exists, Filter, Not, OneOf, Some, Within

Parameter: TypeAlias = Jsonb | list[Jsonb] | str
Condition: TypeAlias = tuple[Composed, list[Parameter]]
"""An expression that is true or false and never null, and what stands for its placeholders."""


def condition(where: Filter, column: SQL) -> Condition:
    """The filter as a condition on this jsonb column."""
    match where:
        case Every(parts):
            return _joined(parts, " AND ", "true", column)
        case Some(parts):
            return _joined(parts, " OR ", "false", column)
        case Not(part):
            inner, values = condition(part, column)
            return SQL("NOT ({})").format(inner), values
        case Equals(key, value):
            return SQL("{} @> %s").format(column), [Jsonb({key: value})]
        case OneOf(key, values):
            return SQL("{} @> ANY (%s::jsonb[])").format(column), [[Jsonb({key: value}) for value in values]]
        case Exists(key):
            return SQL("{} ? %s").format(column), [key]
        case Within():
            return _within(where, column)


def _joined(parts: tuple[Filter, ...], word: LiteralString, empty: LiteralString, column: SQL) -> Condition:
    each = [condition(part, column) for part in parts]
    if not each:
        return Composed([SQL(empty)]), []
    joined = SQL(word).join(SQL("({})").format(inner) for inner, _ in each)
    return joined, [value for _, values in each for value in values]


def _within(bounds: Within, column: SQL) -> Condition:
    """A comparison with what is no number is unknown in a jsonpath, which makes null of it."""
    value = f"$.{json.dumps(bounds.key)}"
    given = {">": bounds.above, ">=": bounds.at_least, "<": bounds.below, "<=": bounds.at_most}
    compared = [f"{value} {sign} {limit!r}" for sign, limit in given.items() if limit is not None]
    path = " && ".join(compared) or f'{value}.type() == "number"'
    return SQL("coalesce({} @@ %s::jsonpath, false)").format(column), [path]
