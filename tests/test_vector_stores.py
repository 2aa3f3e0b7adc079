"""Pipelines on Qdrant, Chroma and a class of the user's own in one mesh, from their YAML to their answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import JsonValue

from astromesh_testing.chroma import ChromaServer
from astromesh_testing.mesh import Mesh, running_mesh
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.waiting import until

DOCUMENTS = {
    "boats.md": "# Boats\n\nThe ferry to Elba leaves Piombino every hour, from six in the morning until ten.\n",
    "bread.md": "# Bread\n\nA sourdough loaf rests for twelve hours in the cold before it is baked.\n",
}
QUESTION = "when does the ferry leave for Elba?"
OWN = Path(__file__).parents[1] / "libs" / "vectors" / "tests" / "own_store.py"


def folder_of(path: Path, server: ChromaServer) -> ConfigFolder:
    folder = ConfigFolder(path / "config")
    folder.pipeline("kb", DOCUMENTS)
    (folder.path / "stores").mkdir()
    (folder.path / "stores" / "mine.py").write_text(OWN.read_text())
    stores: dict[str, JsonValue] = {
        "kb": {"backend": "faiss", "index": "hnsw"},
        "folder": {"backend": "qdrant", "distanceMetric": "dot"},
        "chest": {"backend": "chromadb", "persist_directory": "kept"},
        "away": {"backend": "chroma", "host": "127.0.0.1", "port": server.port},
        "own": {"backend": "mine:Mine", "parameters": {"file": "mine.json"}},
    }
    source: JsonValue = {"type": "directory", "path": "knowledge", "glob": "**/*.md"}
    for name, store in stores.items():
        spec: dict[str, JsonValue] = {
            "vector_store": store,
            "retrieval": {"mode": "hybrid", "top_k": 2},
            "ingestion": {"sources": [source]},
        }
        folder.resource(f"rag/{name}.rag.yaml", "RAGPipeline", {"name": name}, spec)
    return folder


async def becomes(mesh: Mesh, pipeline: str, condition: str, status: str) -> str:
    """Waits for the condition's status; its message."""
    found: dict[str, dict[str, str]] = {}

    async def is_it() -> bool:
        reply = await mesh.client.get(f"/v1/resources/ragpipelines/{pipeline}")
        found.update({each["type"]: each for each in reply.json().get("conditions", ())})
        return found.get(condition, {}).get("status") == status

    await until(is_it, 60.0, 0.1)
    return found[condition].get("message", "")


async def sources(mesh: Mesh, pipeline: str, where: JsonValue = None) -> list[str]:
    """Where what answers the question stands, best first."""
    body: dict[str, JsonValue] = {"pipeline": pipeline, "query": QUESTION, "filter": where or {}}
    reply = await mesh.client.post("/v1/rag/query", json=body)
    assert reply.status_code == 200, reply.text
    return [passage["source"] for passage in reply.json()["results"]]


async def answers(mesh: Mesh, pipeline: str) -> None:
    await becomes(mesh, pipeline, "IngestionComplete", "True")
    assert await sources(mesh, pipeline) == ["boats.md", "bread.md"]
    assert await sources(mesh, pipeline, {"source": "bread.md"}) == ["bread.md"]
    assert await sources(mesh, pipeline, {"source": {"$nin": ["boats.md", "bread.md"]}}) == []


@pytest.mark.serial
async def test_every_store_answers_and_one_that_is_away_keeps_nobody_waiting(tmp_path: Path) -> None:
    server = ChromaServer()
    folder = folder_of(tmp_path, server)
    try:
        async with running_mesh(folder.path, tmp_path / "data") as mesh:
            for pipeline in ("kb", "folder", "chest", "own"):
                await answers(mesh, pipeline)
            assert "away-" in await becomes(mesh, "away", "StoreConnected", "False")
            refused = await mesh.client.post("/v1/rag/query", json={"pipeline": "away", "query": QUESTION})
            assert refused.status_code == 503

            await asyncio.to_thread(server.start)
            await becomes(mesh, "away", "StoreConnected", "True")
            await answers(mesh, "away")

            given: JsonValue = [{"source": "news", "text": "Storks build nests.", "metadata": {"year": 2026}}]
            ingested = await mesh.client.post("/v1/rag/ingest", json={"pipeline": "away", "documents": given})
            assert ingested.json()["added"] == 1, ingested.text
            assert await sources(mesh, "away", {"year": {"$gte": 2020}}) == ["news"]

            await mesh.stop()
            await mesh.start()
            for pipeline in ("kb", "folder", "chest", "own", "away"):
                assert (await sources(mesh, pipeline))[0] == "boats.md"
            assert await sources(mesh, "away", {"year": 2026.0}) == ["news"]
    finally:
        await asyncio.to_thread(server.close)
