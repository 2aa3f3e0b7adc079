"""The RAGPipeline: how documents are cut, embedded, stored, found and taken in. Doing it is the rag service's."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urldefrag, urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.cron import CronFields
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.reranking import Reranking
from astromesh_core.resources.secrets import Secret
from astromesh_core.resources.spelling import Items, Spec, is_mapping, spelled
from astromesh_core.resources.stores import Connection, IndexKind, Metric, StoreName, StorePlace, check_place
from astromesh_core.resources.time_zones import TimeZone
from astromesh_core.resources.urls import HttpUrl, check_http_url

DEFAULT_SEPARATORS = ("\n\n", "\n", ". ", " ")


class Chunking(Spec):
    """How a document is cut into chunks. Sizes are in `unit`; tokens are those of MiniLM.

    Without them, sizes are 500 and 50 characters or 200 and 20 tokens; sentences share nothing.
    """

    strategy: Literal["recursive", "fixed", "sentence", "semantic"] = "recursive"
    unit: Literal["characters", "tokens"] = "characters"
    chunk_size: int = Field(default=500, ge=1, le=100_000)
    overlap: int = Field(default=50, ge=0, validation_alias=spelled("overlap", "chunk_overlap"))
    separators: Annotated[Items[Annotated[str, Field(min_length=1)]], Field(max_length=64)] = DEFAULT_SEPARATORS
    similarity_threshold: float | None = Field(default=None, ge=0, le=1)
    """Of `semantic`, 0.5 without one: neighbours whose cosine is below it are of two chunks."""

    @model_validator(mode="before")
    @classmethod
    def _with_fitting_sizes(cls, value: object) -> object:
        """The default sizes follow the unit and the strategy; an overlap shrinks with chunks it would not fit into."""
        if not is_mapping(value):
            return value
        size = value.get("chunk_size", value.get("chunkSize"))
        given: dict[str, JsonValue] = dict(value)
        if size is None and value.get("unit") == "tokens":
            size = given["chunk_size"] = 200
        if {"overlap", "chunk_overlap", "chunkOverlap"} & value.keys():
            return given
        if value.get("strategy") in ("sentence", "semantic"):
            given["overlap"] = 0
        elif isinstance(size, int) and (value.get("unit") == "tokens" or 0 < size <= 50):
            given["overlap"] = max(size, 0) // 10
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.overlap >= self.chunk_size:
            context = {"overlap": self.overlap, "size": self.chunk_size}
            raise PydanticCustomError("overlap", "overlap {overlap} must be less than the chunk size {size}", context)
        if self.similarity_threshold is not None and self.strategy != "semantic":
            context = {"strategy": self.strategy}
            raise PydanticCustomError(
                "unused", "{strategy} chunking has no similarity_threshold; semantic has", context
            )
        if self.strategy == "fixed" and self.separators != DEFAULT_SEPARATORS:
            raise PydanticCustomError("unused", "fixed chunking has no separators; it cuts by length alone")
        return self


def _metric(value: object) -> object:
    return "ip" if value == "dot" else value


class VectorStore(Spec):
    """Where a pipeline's vectors are kept. `collection` None: one of the pipeline's own name."""

    backend: StoreName = "faiss"
    collection: str | None = Field(default=None, min_length=1)
    dimensions: int | None = Field(default=None, gt=0, validation_alias=spelled("dimensions", "dimension"))
    distance_metric: Annotated[Metric, BeforeValidator(_metric)] = "cosine"
    """`dot` is `ip`. Embeddings are of unit length, where all three have the same passages in the same order."""
    index: IndexKind = "auto"
    """`flat` looks at every passage, `hnsw` follows a graph, `auto` is flat until there are many."""
    connection: Connection | None = None
    dsn: str | None = None
    url: HttpUrl | None = None
    api_key: Secret | None = None
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    persist_directory: str | None = Field(
        default=None, min_length=1, validation_alias=spelled("persist_directory", "path")
    )
    """A folder for collections; a relative one starts at the mesh's data folder."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """What a class of the user's own is made with."""

    @property
    def place(self) -> StorePlace:
        """Where the vectors are kept."""
        return StorePlace(
            self.backend,
            self.distance_metric,
            self.index,
            self.url if self.dsn is None else self.dsn,
            self.host,
            self.port,
            self.api_key,
            self.connection,
            self.persist_directory,
            orjson.dumps(self.parameters, option=orjson.OPT_SORT_KEYS).decode(),
        )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.dsn is not None and (self.url is not None or self.backend != "pgvector"):
            context = {"backend": self.backend}
            raise PydanticCustomError("unused", "{backend} has no dsn, or a url as well", context)
        names = {"path": "persist_directory", "metric": "distance_metric"} | (
            {"url": "dsn"} if self.dsn is not None else {}
        )
        check_place(self.place, names)
        return self


class Mmr(Spec):
    """Passages that repeat others make room: maximal marginal relevance. 1 looks at relevance alone, 0 at novelty."""

    lambda_mult: float = Field(default=0.5, ge=0, le=1, validation_alias=spelled("lambda_mult", "lambda"))


class Retrieval(Spec):
    """How passages are found, and how many."""

    mode: Literal["vector", "keyword", "hybrid"] = "vector"
    top_k: int = Field(default=5, ge=1, le=100)
    similarity_threshold: float | None = Field(default=None, ge=0, le=1)
    """Passages that are found by their vector, with a cosine below it, are left out."""
    mmr: Mmr | None = None

    @model_validator(mode="after")
    def _compares_vectors(self) -> Self:
        if self.mode == "keyword" and self.similarity_threshold is not None:
            raise PydanticCustomError("unused", "keyword retrieval has no similarity_threshold; vector and hybrid have")
        return self


def _globs(value: object) -> object:
    return [value] if isinstance(value, str) else value


class DirectorySource(Spec):
    """Files of a folder. A relative path starts at the config folder."""

    type: Literal["directory"]
    path: str = Field(min_length=1)
    glob: Annotated[Items[Annotated[str, Field(min_length=1)]], BeforeValidator(_globs)] = Field(
        default=("**/*.md",), min_length=1
    )
    """One pattern, or a list."""
    allow_empty: bool = False
    """Whether a folder in which nothing is found any more takes its documents away. Mostly it is not mounted."""


def _check_page(text: str) -> str:
    parts = urlsplit(check_http_url(text))
    if "${" in text or "@" in parts.netloc:
        raise PydanticCustomError("url", "is not the address of a page", {"hint": "such as https://example.com/faq"})
    return urldefrag(text).url


class UrlSource(Spec):
    """Pages of the web. Files that robots.txt forbids are not asked for."""

    type: Literal["url"]
    urls: Items[Annotated[str, AfterValidator(_check_page)]] = Field(min_length=1)
    allow_private: bool = False
    """Whether pages may lie at addresses of private networks and of this machine."""


Source = Annotated[DirectorySource | UrlSource, Field(discriminator="type")]


class Ingestion(Spec):
    """What a pipeline takes in by itself, and when."""

    sources: Items[Source] = ()
    schedule: CronFields | None = None
    timezone: TimeZone = "UTC"
    """Of the schedule."""

    @model_validator(mode="after")
    def _has_something_to_take_in(self) -> Self:
        if self.schedule is not None and not self.sources:
            raise PydanticCustomError("unused", "a schedule takes in sources, and there are none")
        if self.schedule is None and self.timezone != "UTC":
            raise PydanticCustomError("unused", "timezone is of a schedule, and there is none")
        return self


class RAGPipelineSpec(Spec):
    """A pipeline as it was declared."""

    description: str = ""
    chunking: Chunking = Chunking()
    embeddings: EmbeddingsSpec = Field(default=EmbeddingsSpec(), validation_alias=spelled("embeddings", "embedding"))
    vector_store: VectorStore = Field(default=VectorStore(), validation_alias=spelled("vector_store", "store"))
    reranking: Reranking = Reranking()
    retrieval: Retrieval = Retrieval()
    ingestion: Ingestion = Ingestion()
