"""Where vectors and rows are kept: the names of backends and how to reach them. Shared by agents and pipelines."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.secrets import KeyOfSecret, Secret
from astromesh_core.resources.spelling import Spec


class Connection(Spec):
    """How to reach a backend: `url`, or `host` and what goes with it, or a reference to the whole address.

    A password stands nowhere but in the environment: as `password: ${NAME}`, or as `${NAME}` in the url.
    """

    url: str | None = None
    secret_key_ref: KeyOfSecret | None = None
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    database: str | None = None
    user: str | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        ways = [name for name in ("url", "secret_key_ref", "host") if getattr(self, name) is not None]
        if len(ways) != 1:
            told = " and ".join(ways) or "no address"
            raise PydanticCustomError("connection", "has {told}; write url, or host, or secretKeyRef", {"told": told})
        alone = () if ways == ["host"] else ("port", "database")
        if ways == ["secret_key_ref"]:
            alone += ("user", "password")
        beside = [name for name in alone if getattr(self, name) is not None]
        if beside:
            context = {"field": beside[0], "way": ways[0]}
            raise PydanticCustomError("connection", "{field} stands in {way} already; leave it out", context)
        return self


def _one_spelling(value: object) -> object:
    return "chroma" if value == "chromadb" else value


StoreName = Annotated[Literal["faiss", "pgvector", "qdrant", "chroma"], BeforeValidator(_one_spelling)]
"""A vector store; `chromadb` is `chroma`."""
