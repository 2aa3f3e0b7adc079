"""A pipeline on PostgreSQL in a whole mesh: from its YAML to its answers, over restarts and a server that goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from pydantic import JsonValue

from astromesh_testing.mesh import Mesh, running_mesh
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.postgres import PostgresServer
from astromesh_testing.waiting import until

DOCUMENTS = {
    "boats.md": "# Boats\n\nThe ferry to Elba leaves Piombino every hour, from six in the morning until ten.\n",
    "bread.md": "# Bread\n\nA sourdough loaf rests for twelve hours in the cold before it is baked.\n",
}
QUESTION = "when does the ferry leave for Elba?"
LOST = "StoreConnected"


def folder_of(path: Path, where: JsonValue) -> ConfigFolder:
    folder = ConfigFolder(path / "config")
    folder.pipeline("kb", DOCUMENTS)
    source: JsonValue = {"type": "directory", "path": "knowledge", "glob": "**/*.md"}
    spec: dict[str, JsonValue] = {
        "vector_store": {"backend": "pgvector", "distance_metric": "l2", "connection": where},
        "retrieval": {"mode": "hybrid", "top_k": 2},
        "ingestion": {"sources": [source]},
    }
    folder.resource("rag/kb.rag.yaml", "RAGPipeline", {"name": "kb"}, spec)
    return folder


async def state(mesh: Mesh, condition: str) -> tuple[str, str]:
    """The status and the message of a condition of the pipeline; two empty ones before it is observed."""
    reply = await mesh.client.get("/v1/resources/ragpipelines/kb")
    found = {each["type"]: each for each in reply.json().get("conditions", ())}.get(condition, {})
    return found.get("status", ""), found.get("message", "")


async def becomes(mesh: Mesh, condition: str, status: str, seconds: float = 45.0) -> str:
    """Waits for the condition's status; its message."""

    async def is_it() -> bool:
        return (await state(mesh, condition))[0] == status

    await until(is_it, seconds, 0.1)
    return (await state(mesh, condition))[1]


async def sources(mesh: Mesh) -> list[str]:
    """Where what answers the question stands, best first."""
    reply = await mesh.client.post("/v1/rag/query", json={"pipeline": "kb", "query": QUESTION})
    assert reply.status_code == 200, reply.text
    return [passage["source"] for passage in reply.json()["results"]]


def written(server: PostgresServer) -> list[tuple[object, ...]]:
    """Which passages were written, and when: a number stands for one writing."""
    with psycopg.connect(server.dsn()) as connection:
        return connection.execute("SELECT number, source FROM astromesh.vector_passages_1 ORDER BY number").fetchall()


@pytest.mark.serial
@pytest.mark.timeout(180)
async def test_a_pipeline_on_postgresql_answers_over_restarts_and_outages(
    own_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KB_PASSWORD", own_postgres.password)
    where: JsonValue = {
        "host": "127.0.0.1",
        "port": own_postgres.port,
        "database": "postgres",
        "user": "postgres",
        "password": "${KB_PASSWORD}",
    }
    folder = folder_of(tmp_path, where)
    await asyncio.to_thread(own_postgres.stop)
    async with running_mesh(folder.path, tmp_path / "data") as mesh:
        reason = await becomes(mesh, LOST, "False")
        assert "refused" in reason
        await asyncio.to_thread(own_postgres.start)
        await becomes(mesh, LOST, "True")
        await becomes(mesh, "IngestionComplete", "True")
        assert (await sources(mesh))[0] == "boats.md"
        before = written(own_postgres)
        assert [source for _, source in before] == ["boats.md", "bread.md"]

        await mesh.stop()
        await mesh.start()
        assert (await sources(mesh))[0] == "boats.md"
        await asyncio.sleep(3)  # what a restart takes in anew, it begins with after some 1.5 s
        await becomes(mesh, "IngestionComplete", "True")
        assert written(own_postgres) == before

        await asyncio.to_thread(own_postgres.stop)
        refused = await mesh.client.post("/v1/rag/query", json={"pipeline": "kb", "query": QUESTION})
        assert refused.status_code == 503
        assert own_postgres.password not in refused.text
        await becomes(mesh, LOST, "False")
        await asyncio.to_thread(own_postgres.start)
        assert (await sources(mesh))[0] == "boats.md"
        await becomes(mesh, LOST, "True")
        assert own_postgres.password not in mesh.log.read_text()
