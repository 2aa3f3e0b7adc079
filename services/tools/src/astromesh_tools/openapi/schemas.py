"""The JSON Schema (draft 2020-12) of a tool's arguments, made of an OpenAPI document's schemas. Pure.

What a schema refers to is taken along under `$defs`, once each, so that a type that holds itself stays what it is.
What the 3.0 dialect writes in its own way (`nullable`, exclusive bounds that are true) is put into JSON Schema's, and
what a caller may not send (`readOnly`) is left out.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_tools.openapi.documents import Document, Object, as_object

MOST_VALUES: Final = 20_000
MOST_LEVELS: Final = 60

_LEFT_OUT: Final = frozenset(
    ("discriminator", "xml", "externalDocs", "example", "examples", "deprecated", "nullable", "readOnly", "writeOnly")
)
_HOLD_ONE: Final = ("not", "if", "then", "else", "items", "additionalProperties", "propertyNames", "contains")
_HOLD_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_HOLD_NAMED: Final = ("properties", "patternProperties", "dependentSchemas", "$defs")
_BOUNDS: Final = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")


class Schemas:
    """The schemas of one operation, and the definitions that they need."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self.definitions: dict[str, JsonValue] = {}
        self._values = 0

    def made(self, schema: JsonValue, level: int = 0) -> JsonValue:
        """The schema as a tool has it. Raises InvalidInput for what cannot be followed, or is too much."""
        self._count(level)
        if not isinstance(schema, dict):
            # 3.1 knows schemas that are true or false.
            return schema if isinstance(schema, bool) else {}
        reference = schema.get("$ref")
        kept = {name: value for name, value in schema.items() if name not in _LEFT_OUT and name != "$ref"}
        made: dict[str, JsonValue] = {name: self._inner(name, value, level) for name, value in kept.items()}
        if self._document.is_3_0:
            made = _of_2020(made, nullable=schema.get("nullable") is True)
        self._drop_read_only(schema, made)
        return {"$ref": f"#/$defs/{self._named(reference, level)}", **made} if isinstance(reference, str) else made

    def _inner(self, name: str, value: JsonValue, level: int) -> JsonValue:
        if name in _HOLD_ONE and isinstance(value, dict):
            return self.made(value, level + 1)
        if name in _HOLD_LISTS and isinstance(value, list):
            return [self.made(each, level + 1) for each in value]
        if name in _HOLD_NAMED and isinstance(value, dict):
            return {key: self.made(each, level + 1) for key, each in value.items()}
        return value

    def _named(self, reference: str, level: int) -> str:
        """Where the definition stands that a reference names; it is made where it is met first."""
        known = self._names.get(reference)
        if known is not None:
            return known
        whole = _UNSAFE.sub("_", reference.rpartition("/")[2]) or "schema"
        name, number = whole, 2
        while name in self._names.values():
            name, number = f"{whole}_{number}", number + 1
        self._names[reference] = name
        self.definitions[name] = self.made(self._document.at(reference), level + 1)
        return name

    def _drop_read_only(self, schema: Object, made: dict[str, JsonValue]) -> None:
        properties = made.get("properties")
        if not isinstance(properties, dict):
            return
        written = as_object(schema.get("properties"))
        hidden = [name for name, each in written.items() if as_object(each).get("readOnly") is True]
        made["properties"] = {name: each for name, each in properties.items() if name not in hidden}
        required = made.get("required")
        if hidden and isinstance(required, list):
            made["required"] = [name for name in required if name not in hidden]

    def _count(self, level: int) -> None:
        self._values += 1
        if self._values > MOST_VALUES or level > MOST_LEVELS:
            raise InvalidInput("has schemas that are larger, or nested deeper, than a model could be told")


def _of_2020(made: dict[str, JsonValue], *, nullable: bool) -> dict[str, JsonValue]:
    for exclusive, bound in _BOUNDS:
        if made.get(exclusive) is True and bound in made:
            made[exclusive] = made.pop(bound)
        elif isinstance(made.get(exclusive), bool):
            made.pop(exclusive)
    return _with_null(made) if nullable else made


def _with_null(made: dict[str, JsonValue]) -> dict[str, JsonValue]:
    kind, choices = made.get("type"), made.get("enum")
    if isinstance(choices, list) and None not in choices:
        made["enum"] = [*choices, None]
    if isinstance(kind, str):
        made["type"] = [kind, "null"]
    return made
