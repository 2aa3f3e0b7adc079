"""/v1/audit: files that prove, without the mesh, what is in its log; and the signed heads that vouch for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from astromesh.v1.audit_pb2 import ExportAuditRequest, ExportAuditResponse, ListTreeHeadsRequest
from astromesh_core.errors import InvalidInput
from astromesh_core.events.identity import session_key
from astromesh_gateway.access import TheGateway, Viewer
from astromesh_gateway.documentation import errors
from astromesh_gateway.moments import unix_nano
from astromesh_gateway.shown import moment

router = APIRouter(prefix="/v1/audit", tags=["audit"])

MEDIA_TYPE = "application/jsonl"
EXPORT_SECONDS = 600.0


class TreeHeadReply(TypedDict):
    """A signed head: bytes as hex. What was signed of it, `astromesh_core.audit.heads` says."""

    tree: str
    size: int
    root: str
    time: str
    time_unix_nano: str
    previous: str
    public_key: str
    signature: str


class AnchorReply(TypedDict):
    """A place outside the mesh, and the head that it was told last."""

    place: str
    size: int
    time: str
    trouble: str


class TreeHeadPage(TypedDict):
    """Heads, newest first; `next_before` is 0 on the last page."""

    heads: list[TreeHeadReply]
    anchors: list[AnchorReply]
    next_before: int


class ExportQuery(BaseModel):
    """What is exported: runs by their ids, or a session, or what was requested in a time."""

    model_config = ConfigDict(extra="forbid")

    run: list[str] = Field(default=[], max_length=1000, description="May be given more than once.")
    agent: str = ""
    session: str = Field(default="", description="As it was named; needs `agent`.")
    since: datetime | None = Field(default=None, alias="from", description="Requested at or after (ISO 8601).")
    until: datetime | None = Field(default=None, description="Requested before (ISO 8601).")


@router.get(
    "/export",
    summary="Export runs with proof",
    response_class=StreamingResponse,
    responses={200: {"content": {MEDIA_TYPE: {}}}, **errors(400, 404, 422, 503)},
)
async def export(caller: Viewer, gateway: TheGateway, asked: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """One self-contained file, a JSON document a line; `astromesh audit verify` checks it anywhere, with no mesh.

    A file that was cut off lacks its last line, and does not verify.
    """
    if bool(asked.session) != bool(asked.agent):
        raise InvalidInput("a session belongs to an agent: name both, or neither")
    request = ExportAuditRequest(
        namespace=caller.namespace,
        run_ids=asked.run,
        session_key=session_key(gateway.mesh_key, caller.namespace, asked.agent, asked.session)
        if asked.session
        else "",
        from_unix_nano=unix_nano(asked.since),
        until_unix_nano=unix_nano(asked.until),
    )
    pieces = aiter(gateway.services.history.ExportAudit(request, timeout=EXPORT_SECONDS))
    # What is wrong with the request shows before the first piece, while a problem can still be answered.
    first = await anext(pieces)
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"', "Cache-Control": "no-store"}
    return StreamingResponse(_data(first, pieces), media_type=MEDIA_TYPE, headers=headers)


@router.get("/heads", summary="List signed tree heads", responses=errors(400, 422, 503))
async def list_heads(
    caller: Viewer,
    gateway: TheGateway,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[int, Query(ge=0, description="Heads of fewer leaves than this; 0: the newest.")] = 0,
) -> TreeHeadPage:
    """Newest first, and where they were told. They speak of the whole mesh, in hashes alone."""
    del caller
    found = await gateway.services.history.ListTreeHeads(ListTreeHeadsRequest(page_size=page_size, before_size=before))
    return TreeHeadPage(
        heads=[
            TreeHeadReply(
                tree=head.tree,
                size=head.size,
                root=head.root.hex(),
                time=moment(head.time_unix_nano),
                time_unix_nano=str(head.time_unix_nano),
                previous=head.previous.hex(),
                public_key=head.public_key.hex(),
                signature=head.signature.hex(),
            )
            for head in found.heads
        ],
        anchors=[
            AnchorReply(
                place=anchor.place,
                size=anchor.size,
                time=moment(anchor.time_unix_nano) if anchor.time_unix_nano else "",
                trouble=anchor.trouble,
            )
            for anchor in found.anchors
        ],
        next_before=found.next_before_size,
    )


async def _data(first: ExportAuditResponse, pieces: AsyncIterator[ExportAuditResponse]) -> AsyncGenerator[bytes, None]:
    yield first.data
    async for piece in pieces:
        yield piece.data
