"""From the tools that a server lists to those that an agent is offered: names, effects, schemas. Pure.

What a server says is not trusted: a name that no model understands is put in other letters, a description is cut, and a
tool whose schema is none is left out, with the reason.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from pydantic import JsonValue

from astromesh.v1.values_pb2 import ToolEffectKind, ToolOrigin, ToolSpec
from astromesh_core.errors import InvalidInput
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.functions import EFFECTS

if TYPE_CHECKING:
    from mcp_types import Tool, ToolAnnotations

    from astromesh_core.resources.agent_tools import McpTool
    from astromesh_core.resources.mcp_tool import ToolEffect
    from astromesh_tools.mcp.session import Listing

MOST_SCHEMA_BYTES: Final = 64 * 1024
LONGEST_DESCRIPTION: Final = 4_000
LONGEST_NAME: Final = 64
TOOL: Final = "mcp"

_MARK: Final = 6
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]")
_UNSEEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Characters that nobody sees, and that a model reads all the same; halves of characters."""


@dataclass(frozen=True)
class Definitions:
    """The tools that are offered, and what is wrong with those that are not."""

    specs: tuple[ToolSpec, ...]
    left_out: tuple[str, ...]


def definitions_of(declared: McpTool, listing: Listing) -> Definitions:
    """What an entry offers of a server's tools, in the server's order."""
    wanted = [tool for tool in listing.tools if declared.tools.offers(tool.name)]
    names = _names(declared.prefix, [tool.name for tool in wanted])
    specs, left_out = list[ToolSpec](), list[str]()
    seen = set[str]()
    for tool in wanted:
        if tool.name in seen:
            left_out.append(f"{_shown(tool.name)}: it is listed twice")
            continue
        seen.add(tool.name)
        try:
            specs.append(_spec(declared, tool, names[tool.name], listing.version))
        except InvalidInput as error:
            left_out.append(f"{_shown(tool.name)}: {error.message}")
    listed = {tool.name for tool in listing.tools}
    left_out += [f"{name}: the server has no such tool" for name in declared.tools.named if name not in listed]
    return Definitions(tuple(specs), tuple(left_out))


def effect_of(declared: ToolEffect | None, hints: ToolAnnotations | None) -> ToolEffectKind.ValueType:
    """As the file says; else as the server hints; a tool of which nobody says anything writes."""
    if declared is not None:
        return EFFECTS[declared]
    if hints is not None and hints.read_only_hint:
        return EFFECTS["read"]
    # What may destroy something does so once only, where repeating it does nothing more.
    return EFFECTS["idempotent" if hints is not None and hints.idempotent_hint else "write"]


def _spec(declared: McpTool, tool: Tool, name: str, version: str) -> ToolSpec:
    schema: Mapping[str, JsonValue] = tool.input_schema
    text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    if len(text) > MOST_SCHEMA_BYTES:
        raise InvalidInput(f"the schema of its parameters has more than {MOST_SCHEMA_BYTES // 1024} KiB")
    if schema.get("type", "object") != "object":
        raise InvalidInput("the schema of its parameters is none of an object")
    whole = tool.model_dump_json(by_alias=True, exclude_none=True)
    return ToolSpec(
        name=name,
        description=_description(declared, tool),
        parameters_json=ArgumentsSchema(schema).text,
        effect=effect_of(declared.effect_of(tool.name), tool.annotations),
        timeout_ms=round(declared.timeout_seconds * 1000),
        type=TOOL,
        origin=ToolOrigin(
            entry=declared.name,
            name=tool.name,
            version=seen_text(version)[:100],
            sha256=hashlib.sha256(whole.encode(errors="replace")).digest(),
        ),
    )


def _description(declared: McpTool, tool: Tool) -> str:
    title = tool.title or (tool.annotations.title if tool.annotations is not None else None)
    text = seen_text(tool.description or title or declared.description or f"{tool.name}, of {declared.name}.").strip()
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[:LONGEST_DESCRIPTION]} […]"


def seen_text(text: str) -> str:
    """A server's text without what nobody would see of it."""
    return _UNSEEN.sub("", text)


def _names(prefix: str, names: list[str]) -> dict[str, str]:
    """What each tool is called here. A name that is altered, and another's by that, gets a mark of its own."""
    plain = {name: prefix + _FOREIGN.sub("_", name) for name in names}
    taken = Counter(plain.values())
    return {
        name: _marked(changed, name)
        if len(changed) > LONGEST_NAME or not name or (taken[changed] > 1 and changed != prefix + name)
        else changed
        for name, changed in plain.items()
    }


def _marked(changed: str, name: str) -> str:
    mark = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_MARK]
    return f"{changed[: LONGEST_NAME - _MARK - 1]}_{mark}"


def _shown(name: str) -> str:
    return seen_text(name)[:LONGEST_NAME] or "a tool without a name"
