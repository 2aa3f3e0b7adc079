"""How many tokens a request has, about. How texts are counted stands in `events.token_estimates`. Pure."""

from __future__ import annotations

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.events.token_estimates import message_tokens, text_tokens

__all__ = ["prompt_tokens", "text_tokens"]


def prompt_tokens(request: CompleteRequest) -> int:
    """How many tokens a model reads of a request, about: messages with their pictures, tools, the schema."""
    tokens = text_tokens(request.output_schema_json)
    for message in request.messages:
        tokens += message_tokens(message)
    for tool in request.tools:
        tokens += text_tokens(tool.name) + text_tokens(tool.description) + text_tokens(tool.parameters_json)
    return tokens
