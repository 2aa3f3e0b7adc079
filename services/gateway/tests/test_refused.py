"""Resources of which no version was ever good, and files that name nobody: shown where one looks for them."""

from __future__ import annotations

import pytest

from astromesh.v1.control_pb2 import CONDITION_STATUS_FALSE, MANAGED_BY_FILE, Condition, ResourceRecord, ResourceStatus
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.conditions import CONFIG_FOLDER
from astromesh_testing.waiting import until

from .conftest import Mesh

LINE = "agents/zoe.agent.yaml:7: spec.modle: is an unknown field (did you mean 'model'?)"
FILES = (
    "agents/torn.agent.yaml:3: is not YAML: did not find expected node content\nproviders.yaml:2: kind: 'X' is no kind"
)
OTHER = {"X-Astromesh-Namespace": "other"}


def refused(ref: ResourceRef, lines: str) -> ResourceStatus:
    """As the operator writes it."""
    condition = Condition(type="Ready", status=CONDITION_STATUS_FALSE, reason="Invalid", message=lines)
    condition.last_transition_unix_nano = 1_800_000_000_000_000_000
    return ResourceStatus(ref=ref, conditions=[condition], refused_edit=lines)


def agent(name: str) -> ResourceRef:
    return ResourceRef(kind="Agent", namespace="default", name=name)


async def names(mesh: Mesh) -> list[str]:
    return [agent["name"] for agent in (await mesh.client.get("/v1/agents")).json()["agents"]]


async def test_an_agent_that_was_never_good_is_listed_and_described_until_it_is_mended(mesh: Mesh) -> None:
    await mesh.bus.status.put(refused(agent("zoe"), LINE))

    assert await until(lambda: _listed(mesh, "zoe"))
    assert await names(mesh) == ["agent", "zoe"]
    for path in ("/v1/agents/zoe", "/v1/resources/agents/zoe"):
        shown = (await mesh.client.get(path)).json()
        assert (shown["ready"], shown["generation"], shown["managed_by"]) == (False, 0, "file")
        assert shown["refused_edit"] == LINE
        assert shown["conditions"][0]["reason"] == "Invalid"
    table = (await mesh.client.get("/v1/resources/agents")).json()
    row = dict(zip(table["columns"], table["resources"][1]["cells"], strict=True))
    assert (row["NAME"], row["READY"], row["MODEL"]) == ("zoe", "false", "—")

    await mesh.bus.status.delete("Agent", "default", "zoe")
    assert await until(lambda: _listed(mesh, "zoe", there=False))
    assert (await mesh.client.get("/v1/agents/zoe")).status_code == 404


async def test_whoever_asks_an_agent_that_was_never_good_is_told_why(mesh: Mesh) -> None:
    await mesh.bus.status.put(refused(agent("zoe"), LINE))
    await until(lambda: _listed(mesh, "zoe"))

    response = await mesh.client.post("/v1/agents/zoe/run", json={"query": "x"})

    assert response.status_code == 404
    assert LINE in response.json()["detail"]


async def test_a_status_that_outlives_its_resource_for_a_moment_is_no_refusal(mesh: Mesh) -> None:
    status = refused(agent("gone"), LINE)
    status.observed_generation = 3
    await mesh.bus.status.put(status)
    await mesh.bus.status.put(refused(agent("zoe"), LINE))
    await until(lambda: _listed(mesh, "zoe"))

    assert "gone" not in await names(mesh)


@pytest.mark.parametrize("path", ["/v1/agents", "/v1/resources/providers"])
async def test_files_that_name_nobody_are_told_with_every_list_of_their_namespace(mesh: Mesh, path: str) -> None:
    folder = ResourceRef(kind=CONFIG_FOLDER.kind, namespace=CONFIG_FOLDER.namespace, name=CONFIG_FOLDER.name)
    assert "refused_files" not in (await mesh.client.get(path)).json()
    await mesh.bus.status.put(refused(folder, FILES))

    async def told() -> object:
        return (await mesh.client.get(path)).json().get("refused_files")

    assert await until(told) == FILES.splitlines()
    assert "refused_files" not in (await mesh.client.get(path, headers=OTHER)).json()
    assert "refused edits: 1" in (await mesh.client.get("/v1/health/ready")).json()["checks"]["resources"]["reason"]


async def test_a_table_of_pipelines_is_shown_while_nobody_serves_them_on_purpose(mesh: Mesh) -> None:
    ref = ResourceRef(kind="RuntimeConfig", namespace="default", name="mesh")
    spec = '{"services": {"rag": false}}'
    mesh.services.rag.away = True
    assert (await mesh.client.get("/v1/resources/ragpipelines")).status_code == 503
    await mesh.bus.resources.put(ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=spec))

    async def shown() -> bool:
        return (await mesh.client.get("/v1/resources/ragpipelines")).status_code == 200

    assert await until(shown)


async def _listed(mesh: Mesh, name: str, *, there: bool = True) -> bool:
    return (name in await names(mesh)) is there
