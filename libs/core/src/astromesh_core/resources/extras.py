"""What the default install leaves out: the extras of the `astromesh` distribution that a field may need."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """An extra by its name, and the module by which it is known to be there."""

    name: str
    module: str
    distribution: str

    @property
    def installed(self) -> bool:
        """Whether this environment has it."""
        return find_spec(self.module) is not None

    @property
    def missing(self) -> str:
        """Says what is not there."""
        return f"{self.distribution} is not installed"

    @property
    def advice(self) -> str:
        """The command that installs it."""
        return f"run: pip install 'astromesh[{self.name}]'"


ONNX = Extra("onnx", "onnxruntime_genai", "onnxruntime-genai")
TORCH = Extra("torch", "sentence_transformers", "sentence-transformers")
POSTGRES = Extra("postgres", "psycopg", "psycopg")
PGVECTOR = Extra("postgres", "pgvector", "pgvector")
"""Brings psycopg too; who has psycopg alone need not have it."""
REDIS = Extra("redis", "redis", "redis")
CHROMA = Extra("chroma", "chromadb", "chromadb")
QDRANT = Extra("qdrant", "qdrant_client", "qdrant-client")
MCP = Extra("mcp", "mcp", "mcp")
CONVERSATION_EXTRAS = {"postgres": POSTGRES, "redis": REDIS}
"""By backend."""
PROVIDER_EXTRAS = {"onnx": ONNX}
"""By provider type."""
STORE_EXTRAS = {"chroma": CHROMA, "qdrant": QDRANT, "pgvector": PGVECTOR}
"""By vector store."""
