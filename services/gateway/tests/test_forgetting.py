"""Forgetting a person where what is at work cannot be seen."""

from __future__ import annotations

import json

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_testing.waiting import until

from .conftest import Mesh


async def test_nobody_is_forgotten_in_part_while_history_is_away_but_where_it_is_switched_off(mesh: Mesh) -> None:
    path = "/v1/memory/users/ada"
    assert (await mesh.client.delete(path)).json() == {"user": "ada", "sessions": 0}
    mesh.services.history.away = True
    refused = await mesh.client.delete(path)
    assert (refused.status_code, "history does not answer" in refused.text) == (503, True)

    ref = ResourceRef(kind="RuntimeConfig", namespace="default", name="mesh")
    spec = json.dumps({"services": {"history": False}})
    await mesh.bus.resources.put(ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=spec))

    async def forgotten() -> bool:
        return (await mesh.client.delete(path)).status_code == 200

    await until(forgotten)
