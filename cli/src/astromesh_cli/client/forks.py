"""Forking a run and waiting for what comes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.replies import RunRecord
    from astromesh_gateway.routes.looking_back import ForkReply

_ASKED_EVERY_SECONDS = 0.2
_UNDER_WAY = ("queued", "running")


def completed_fork(mesh: MeshClient, run_id: str, body: Mapping[str, JsonValue]) -> RunRecord:
    """The fork once it has ended, or waits for somebody."""
    forked = cast("ForkReply", mesh.post(f"/v1/runs/{run_id}/fork", body))
    while True:
        run = cast("RunRecord", mesh.get(f"/v1/runs/{forked['run_id']}"))
        if run["status"] not in _UNDER_WAY:
            return run
        time.sleep(_ASKED_EVERY_SECONDS)
