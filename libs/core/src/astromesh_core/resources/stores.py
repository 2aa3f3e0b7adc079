"""Where vectors and rows are kept: the names of backends and how to reach them. Shared by agents and pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.class_paths import class_path, is_class_path
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.secrets import KeyOfSecret, Secret
from astromesh_core.resources.spelling import Spec
from astromesh_core.resources.urls import check_http_url


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


STORES: Final = ("faiss", "pgvector", "qdrant", "chroma")


def _store(value: object) -> object:
    if not isinstance(value, str):
        return value
    if is_class_path(value):
        return class_path(value, "MyStore")
    name = "chroma" if value == "chromadb" else value
    if name in STORES:
        return name
    hint = did_you_mean(name, STORES) or "my_package.my_module:MyStore names a class of your own"
    context = {"name": value[:80], "choices": ", ".join(STORES), "hint": hint}
    raise PydanticCustomError("store", "cannot be '{name}'; it is one of {choices}", context)


StoreName = Annotated[str, BeforeValidator(_store)]
"""A vector store by its name, `chromadb` being `chroma`, or a class of the user's own as `package.module:Class`."""

Metric = Literal["cosine", "l2", "ip"]
IndexKind = Literal["auto", "flat", "hnsw"]


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where vectors are kept, as a resource declares it: one value for pipelines and for memories.

    What is a secret, or names one, is still a reference. None where nothing is declared.
    """

    backend: str
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    url: str | None = None
    host: str | None = None
    port: int | None = None
    api_key: Secret | None = None
    connection: Connection | None = None
    path: str | None = None
    """A folder in which collections are kept."""
    parameters_json: str = "{}"
    """Of a class of the user's own."""

    @property
    def is_custom(self) -> bool:
        """Whether a class of the user's own keeps them."""
        return is_class_path(self.backend)


_TAKES: Final[Mapping[str, frozenset[str]]] = {
    "faiss": frozenset(("path", "index", "metric")),
    "qdrant": frozenset(("path", "index", "metric", "url", "host", "port", "api_key", "connection")),
    "chroma": frozenset(("path", "metric", "url", "host", "port", "api_key", "connection")),
    "pgvector": frozenset(("metric", "connection", "url", "host", "port")),
}
_OF_AN_OWN_CLASS: Final = frozenset(("path", "url", "api_key", "parameters"))
_WAYS: Final = ("url", "host", "connection", "path")


def check_place(place: StorePlace, names: Mapping[str, str]) -> None:
    """Refuses what a backend would not read, and two addresses at once; `names` are the fields as they are written."""
    takes = _OF_AN_OWN_CLASS if place.is_custom else _TAKES[place.backend]
    given = [field for field, is_given in _given(place) if is_given]

    def written(field: str) -> str:
        return names.get(field, field)

    for field in given:
        if field not in takes:
            context = {
                "backend": place.backend,
                "field": written(field),
                "hint": ", ".join(map(written, sorted(takes))),
            }
            raise PydanticCustomError("unused", "{backend} has no {field}", context)
    ways = [written(field) for field in _WAYS if field in given]
    if len(ways) > 1:
        raise PydanticCustomError("store", "is said to be in two places: {ways}", {"ways": " and ".join(ways)})
    _check_connection(place)
    if place.port is not None and place.host is None:
        raise PydanticCustomError("store", "has a port and no host", {"hint": "write host too, or url alone"})
    if place.api_key is not None and not place.is_custom and (place.url or place.host) is None:
        raise PydanticCustomError("store", "has an api_key and no server", {"hint": "write url, or host"})


def _check_connection(place: StorePlace) -> None:
    """Servers over HTTP have no databases and no users: their `password` is the key that an `api_key` is."""
    if place.connection is None or place.backend == "pgvector":
        return
    for field in ("database", "user"):
        if getattr(place.connection, field) is not None:
            context = {"backend": place.backend, "field": f"connection.{field}"}
            raise PydanticCustomError("unused", "{backend} has no {field}", context)
    if place.connection.url is not None:
        check_http_url(place.connection.url)


def _given(place: StorePlace) -> Iterator[tuple[str, bool]]:
    for field in ("url", "host", "port", "api_key", "connection", "path"):
        yield field, getattr(place, field) is not None
    yield "index", place.index != "auto"
    yield "metric", place.metric != "cosine"
    yield "parameters", place.parameters_json != "{}"
