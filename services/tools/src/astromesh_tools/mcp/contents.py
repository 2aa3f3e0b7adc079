"""What a model reads of what an MCP server answers. Pure. Pictures, sounds and files are named, and not shown.

https://modelcontextprotocol.io/specification/2025-11-25/server/tools, "Tool Result"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import orjson
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import JsonValue

from astromesh_tools.results import render

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock, GetPromptResult, Prompt, Resource, ResourceTemplate


def result_text(result: CallToolResult) -> str:
    """The result: its structured part as JSON, once, and every block that says something else."""
    if result.structured_content is None:
        return _blocks(result.content)
    structured: JsonValue = result.structured_content
    # Servers repeat it as text, for clients that know no structure ("for backwards compatibility").
    others = [block for block in result.content if not _repeats(block, structured)]
    # What is no object, servers put into one of a single field: a text is read better as it is.
    alone = structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None
    shown = render(alone if isinstance(alone, str) else structured)
    return f"{shown}\n\n{_blocks(others)}" if others else shown


def resource_text(contents: Iterable[TextResourceContents | BlobResourceContents]) -> str:
    """The contents of a resource."""
    return "\n\n".join(map(_resource, contents))


def prompt_text(prompt: GetPromptResult) -> str:
    """The messages of a prompt, each under who says it."""
    return "\n\n".join(f"{message.role}: {_block(message.content)}" for message in prompt.messages)


def resource_list(resources: Sequence[Resource], templates: Sequence[ResourceTemplate]) -> str:
    """What there is to read, as JSON."""
    return render(
        {
            "resources": [
                _told(uri=each.uri, name=each.name, description=each.description, type=each.mime_type)
                for each in resources
            ],
            "templates": [
                _told(uri=each.uri_template, name=each.name, description=each.description, type=each.mime_type)
                for each in templates
            ],
        }
    )


def prompt_list(prompts: Sequence[Prompt]) -> str:
    """The prompts there are, with what each asks for, as JSON."""
    return render(
        {
            "prompts": [
                {
                    **_told(name=each.name, description=each.description),
                    "arguments": [
                        {**_told(name=one.name, description=one.description), "required": bool(one.required)}
                        for one in each.arguments or ()
                    ],
                }
                for each in prompts
            ]
        }
    )


def _told(**fields: str | None) -> dict[str, JsonValue]:
    return {name: text for name, text in fields.items() if text}


def _repeats(block: ContentBlock, structured: JsonValue) -> bool:
    if not isinstance(block, TextContent):
        return False
    try:
        said: JsonValue = orjson.loads(block.text)
    except orjson.JSONDecodeError:
        said = block.text
    alone = next(iter(structured.values())) if isinstance(structured, dict) and len(structured) == 1 else structured
    return said in (structured, alone)


def _blocks(blocks: Sequence[ContentBlock]) -> str:
    return "\n\n".join(map(_block, blocks))


def _block(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return render(block.text)
        case ImageContent() | AudioContent():
            return f"[{_size(block.data)} bytes of {block.mime_type}, which a model cannot read]"
        case ResourceLink():
            about = ", ".join(part for part in (block.mime_type, block.description) if part)
            return render(f"[resource {block.name}: {block.uri}{f' ({about})' if about else ''}]")
        case EmbeddedResource():
            return _resource(block.resource)


def _resource(contents: TextResourceContents | BlobResourceContents) -> str:
    if isinstance(contents, TextResourceContents):
        return render(f"[{contents.uri}]\n{contents.text}")
    kind = contents.mime_type or "an unknown type"
    return render(f"[{contents.uri}: {_size(contents.blob)} bytes of {kind}, which a model cannot read]")


def _size(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4
