"""What a request needs of a model, derived from the request alone. Pure. How tokens are counted: `tokens`."""

from __future__ import annotations

from functools import partial

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.ports import Needs
from astromesh_router.tokens import prompt_tokens


def needs_of(request: CompleteRequest) -> Needs:
    """The needs of one request."""
    return Needs(
        count_tokens=partial(prompt_tokens, request),
        max_output_tokens=0,
        tools=bool(request.tools),
        vision=any(message.images for message in request.messages),
        structured_output=bool(request.output_schema_json),
        detail=any(image.detail for message in request.messages for image in message.images),
    )
