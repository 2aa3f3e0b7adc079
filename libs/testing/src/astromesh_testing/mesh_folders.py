"""Config folders for whole meshes: agents on given model servers, and tools that keep a ledger of their effects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import JsonValue

TOOLS: tuple[Mapping[str, JsonValue], ...] = (
    {"name": "add", "type": "internal", "function": "shop:add", "effect": "read"},
    {"name": "note", "type": "internal", "function": "shop:note", "effect": "write", "timeout_seconds": 5},
    {"name": "hold", "type": "internal", "function": "shop:hold", "effect": "write", "timeout_seconds": 1},
    {"name": "count", "type": "internal", "function": "shop:count", "effect": "idempotent", "timeout_seconds": 5},
)

_SHOP = '''"""The tools of the test agents: each effect is a line in the ledger beside the config folder's tools."""

import json
import os
import time
from pathlib import Path

LEDGER = Path(__file__).resolve().parent.parent / "ledger.jsonl"


def _enter(**line):
    descriptor = os.open(LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\\n")
    finally:
        os.close(descriptor)


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def note(text: str, idempotency_key: str) -> str:
    """Writes a note."""
    _enter(tool="note", phase="done", text=text, key=idempotency_key)
    return f"noted {text}"


def hold(text: str, seconds: float, idempotency_key: str) -> str:
    """Writes a note and takes its time."""
    _enter(tool="hold", phase="begun", text=text, key=idempotency_key)
    time.sleep(seconds)
    _enter(tool="hold", phase="done", text=text, key=idempotency_key)
    return f"held {text}"


def count(text: str, idempotency_key: str) -> str:
    """Counts once for a key."""
    _enter(tool="count", phase="done", text=text, key=idempotency_key)
    return f"counted {text}"
'''


class Effect(NamedTuple):
    """A line of the ledger."""

    tool: str
    phase: str
    text: str
    key: str


class ConfigFolder:
    """A config folder in the making, or in use: what is written to it takes effect in a running mesh."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("agents", "tools", "rag", "knowledge"):
            (path / name).mkdir(parents=True, exist_ok=True)
        (path / "tools" / "shop.py").write_text(_SHOP, encoding="utf-8")

    def agent(
        self,
        name: str,
        endpoints: Sequence[str],
        *,
        tools: Sequence[Mapping[str, JsonValue]] = TOOLS,
        namespace: str = "default",
        seconds: float = 20.0,
        **spec: JsonValue,
    ) -> Path:
        """An agent whose candidates are models at these endpoints, in order, each given up after `seconds`.

        `spec` holds further fields, which replace ours.
        """
        candidates: list[JsonValue] = [
            {"provider": "openai_compat", "model": "stub-1", "endpoint": endpoint, "timeout_seconds": seconds}
            for endpoint in endpoints
        ] or [{"provider": "extractive"}]
        declared: dict[str, JsonValue] = {
            "model": {"primary": candidates[0], "fallback": candidates[1:]},
            "tools": [dict(tool) for tool in tools],
            "memory": {"conversational": {"backend": "sqlite", "max_turns": 10}},
            **spec,
        }
        metadata = {"name": name, "namespace": namespace}
        file = f"{name}.agent.yaml" if namespace == "default" else f"{namespace}-{name}.agent.yaml"
        return self.resource(f"agents/{file}", "Agent", metadata, declared)

    def pipeline(self, name: str, documents: Mapping[str, str]) -> Path:
        """A pipeline over these documents."""
        for source, text in documents.items():
            (self.path / "knowledge" / source).write_text(text, encoding="utf-8")
        documented: JsonValue = {"type": "directory", "path": "knowledge", "glob": "**/*.md"}
        spec: dict[str, JsonValue] = {
            "embeddings": {"provider": "sentence-transformers", "model": "all-MiniLM-L6-v2", "dimension": 384},
            "vector_store": {"backend": "faiss"},
            "ingestion": {"sources": [documented]},
        }
        return self.resource(f"rag/{name}.rag.yaml", "RAGPipeline", {"name": name}, spec)

    def runtime(self, **spec: JsonValue) -> Path:
        """The RuntimeConfig."""
        return self.resource("runtime.yaml", "RuntimeConfig", {"name": "mesh"}, spec)

    def resource(self, file: str, kind: str, metadata: Mapping[str, JsonValue], spec: Mapping[str, JsonValue]) -> Path:
        """Writes any resource; JSON is YAML."""
        path = self.path / file
        document = {"apiVersion": "astromesh/v1", "kind": kind, "metadata": dict(metadata), "spec": dict(spec)}
        path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return path

    def effects(self) -> list[Effect]:
        """What the tools did, in order."""
        ledger = self.path / "ledger.jsonl"
        lines = ledger.read_bytes().splitlines() if ledger.exists() else []
        return [Effect(**orjson.loads(line)) for line in lines]

    def done(self, tool: str) -> Counter[str]:
        """How often a tool did each text."""
        return Counter(effect.text for effect in self.effects() if effect.tool == tool and effect.phase == "done")
