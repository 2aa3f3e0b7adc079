"""What an agent remembers, and where. Storing and recalling is the memory service's."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

import orjson
from pydantic import BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.class_paths import class_path, is_class_path
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.refused import VALUES
from astromesh_core.resources.spelling import Spec, spelled
from astromesh_core.resources.stores import Connection, StoreName, StorePlace, check_place

CONVERSATION_BACKENDS: Final = ("sqlite", "redis", "postgres")


def _backend(value: object) -> object:
    if not isinstance(value, str):
        return value
    if is_class_path(value):
        return class_path(value, "MyConversations")
    name = "postgres" if value == "postgresql" else value
    if name in CONVERSATION_BACKENDS:
        return name
    hint = VALUES["spec.memory.conversational.backend"].get(name) or did_you_mean(name, CONVERSATION_BACKENDS)
    own = "my_package.my_module:MyConversations names a class of your own"
    context = {"name": value[:80], "choices": ", ".join(CONVERSATION_BACKENDS), "hint": hint or own}
    raise PydanticCustomError("backend", "cannot be '{name}'; it is one of {choices}", context)


ConversationBackend = Annotated[str, BeforeValidator(_backend)]
"""A backend by its name, or a class of the user's own as `package.module:Class`."""


OnUnavailable = Literal["fail", "continue"]
"""What becomes of a run that cannot be told what is remembered: it fails, or it goes on without and says so."""


class ConversationalMemory(Spec):
    """The turns of a session. A backend that is not installed falls back to SQLite unless `strict`."""

    backend: ConversationBackend = "sqlite"
    connection: Connection | None = None
    strategy: Literal["sliding_window", "summary", "token_budget"] = "sliding_window"
    max_turns: int = Field(default=50, ge=1, le=10_000, validation_alias=spelled("max_turns", "window_size"))
    """How many turns, a question with its answer each, are recalled at most."""
    max_tokens: int | None = Field(default=None, ge=1, validation_alias=spelled("max_tokens", "token_budget"))
    """Of the strategy token_budget: how many tokens the recalled turns have together at most; None: 4,000."""
    ttl: int | None = Field(default=None, gt=0, validation_alias=spelled("ttl", "ttl_seconds"))
    """Seconds after its last turn at which a session is forgotten."""
    on_unavailable: OnUnavailable = "fail"
    strict: bool = False

    @model_validator(mode="after")
    def _says_what_it_does(self) -> Self:
        if self.max_tokens is not None and self.strategy != "token_budget":
            hint = "write strategy: token_budget, or leave max_tokens out"
            raise PydanticCustomError("unused", "max_tokens is read by the strategy token_budget alone", {"hint": hint})
        if is_class_path(self.backend) and self.connection is not None and self.connection.url is None:
            raise PydanticCustomError("connection", "a class of your own is given connection.url alone")
        return self


Scope = Literal["user", "session", "agent"]
"""Among whose runs something is found again: those of the user whom the caller names (without one, of the session), of
the session, or of everybody whom the agent serves."""


class SemanticMemory(Spec):
    """What was said in earlier runs, found again by meaning."""

    backend: StoreName
    collection: str | None = None
    embeddings: EmbeddingsSpec | None = Field(default=None, validation_alias=spelled("embeddings", "embedding"))
    dimension: int | None = Field(default=None, gt=0, validation_alias=spelled("dimension", "dimensions"))
    connection: Connection | None = None
    path: str | None = Field(default=None, min_length=1, validation_alias=spelled("path", "persist_directory"))
    """A folder for collections; a relative one starts at the mesh's data folder."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """What a class of the user's own is made with."""
    similarity_threshold: float | None = Field(default=None, ge=0, le=1)
    """The least cosine of what is recalled; None: 0.3."""
    max_results: int | None = Field(default=None, ge=1, le=100)
    """How many pieces are recalled at most; None: 5."""
    scope: Scope = "user"
    ttl: int | None = Field(default=None, gt=0, validation_alias=spelled("ttl", "ttl_seconds"))
    """Seconds after which something said is forgotten."""
    on_unavailable: OnUnavailable = "fail"

    @property
    def place(self) -> StorePlace:
        """Where the vectors are kept."""
        parameters = orjson.dumps(self.parameters, option=orjson.OPT_SORT_KEYS).decode()
        return StorePlace(self.backend, connection=self.connection, path=self.path, parameters_json=parameters)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        check_place(self.place, {})
        return self


class EpisodicMemory(Spec):
    """What happened in earlier runs. A backend that is not installed falls back to SQLite unless `strict`."""

    backend: Literal["postgres", "sqlite"] = "postgres"
    connection: Connection | None = None
    embeddings: EmbeddingsSpec | None = Field(default=None, validation_alias=spelled("embeddings", "embedding"))
    similarity_threshold: float | None = Field(default=None, ge=0, le=1)
    """The least cosine between what is asked and what was asked; None: 0.4."""
    max_results: int | None = Field(default=None, ge=1, le=100)
    """How many runs are recalled at most; None: 3."""
    scope: Scope = "user"
    ttl: int | None = Field(default=None, gt=0, validation_alias=spelled("ttl", "ttl_seconds"))
    """Seconds after which a run is forgotten."""
    on_unavailable: OnUnavailable = "fail"
    strict: bool = False


class MemorySpec(Spec):
    """The kinds of memory that an agent has; none unless declared."""

    conversational: ConversationalMemory | None = None
    semantic: SemanticMemory | None = None
    episodic: EpisodicMemory | None = None
