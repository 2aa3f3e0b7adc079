"""What stands before the texts of a model that wants it: for what was said, and for questions about it."""

from __future__ import annotations

from pathlib import Path

from astromesh_core.bus.connection import Bus

from .told_runs import Told, put_agent, store, world


async def test_what_was_said_and_what_is_asked_are_read_behind_the_models_prefixes(bus: Bus, tmp_path: Path) -> None:
    e5 = {"provider": "ollama", "model": "e5-base-v2"}
    agent = await put_agent(bus, {"semantic": {"backend": "faiss", "embeddings": e5}})
    after = await store(bus, Told("my dog is called Rex", "good to know", user="ada"))
    async with world(bus, tmp_path) as memory:
        assert len(await memory.said(agent, "what is my dog called", user="ada", after=after)) == 1
        *pieces, asked = memory.embedder.embedded
    assert pieces
    assert all(piece.startswith("passage: ") for piece in pieces)
    assert asked == "query: what is my dog called"
