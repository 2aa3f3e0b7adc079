"""Where vectors and rows are kept: the names of backends and how to reach them. Shared by agents and pipelines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from astromesh_core.resources.secrets import KeyOfSecret, Secret
from astromesh_core.resources.spelling import Spec


class Connection(Spec):
    """How to reach a backend: an address without its password, or a reference to the whole of it."""

    url: str | None = None
    secret_key_ref: KeyOfSecret | None = None
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    database: str | None = None
    user: str | None = None
    password: Secret | None = None


def _one_spelling(value: object) -> object:
    return "chroma" if value == "chromadb" else value


StoreName = Annotated[Literal["faiss", "pgvector", "qdrant", "chroma"], BeforeValidator(_one_spelling)]
"""A vector store; `chromadb` is `chroma`."""
