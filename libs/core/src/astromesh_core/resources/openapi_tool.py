"""Operations of an OpenAPI document as an agent declares them: which document, which operations, and how its server is
reached. Reading the document and calling it is the tools service's."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.headers import SET_BY_ITSELF, check_headers
from astromesh_core.resources.spelling import Items, Spec, shaped, spelled
from astromesh_core.resources.urls import HttpAddress
from astromesh_core.resources.webhook_tool import Answer, Auth, HeaderAuth

OperationEffect = Literal["read", "idempotent", "write"]

_OURS: Final = SET_BY_ITSELF | {"idempotency-key", "content-type"}


class OpenApi(Spec):
    """What an entry of type openapi says."""

    spec: str = Field(min_length=1)
    """A file of the config folder, or an http address."""
    sha256: Annotated[str, shaped(r"[0-9a-f]{64}", "a SHA-256", "the 64 digits that sha256sum prints")] | None = None
    """Of the document as it is there: another one is refused. An address needs it."""
    operations: Items[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    """What the agent may call, by `operationId`, or as `GET /pets/{id}`."""
    base_url: HttpAddress | None = Field(default=None, validation_alias=spelled("base_url", "server"))
    """Where the paths begin. None: the document's first server. May hold `${NAME}`."""
    prefix: Annotated[str, shaped(r"[A-Za-z0-9_-]{0,32}", "the beginning of a tool's name", "pets_")] = ""
    """Stands before the name of each tool."""
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Values may hold `${NAME}` of the environment."""
    auth: Auth | None = None
    response: Answer = Answer()
    allow_private: bool = False
    """Whether the server, or the document's address, may lie inside the network."""
    effect: OperationEffect | None = None
    """Of every operation that `effects` does not name. None: a GET reads, anything else writes."""
    effects: dict[str, OperationEffect] = Field(default_factory=dict[str, OperationEffect])
    """By operation, as in `operations`."""
    required: bool = True
    """Whether a run fails at its start where the document cannot be had; else it goes on without its tools."""
    timeout_seconds: float = Field(default=30, gt=0, le=3600, validation_alias=spelled("timeout_seconds", "timeout"))

    @property
    def is_remote(self) -> bool:
        """Whether the document is at an address."""
        return self.spec.startswith(("http://", "https://"))

    def effect_of(self, operation: str, method: str) -> OperationEffect:
        """What a call of the operation does to the world. A GET changes nothing (RFC 9110, 9.2.1)."""
        return self.effects.get(operation) or self.effect or ("read" if method == "GET" else "write")

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        check_headers(value, _OURS)
        return value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.is_remote and self.sha256 is None:
            hint = "curl -s ADDRESS | sha256sum prints it"
            raise PydanticCustomError("pin", "is at an address and needs its sha256", {"hint": hint})
        twice = next((each for each in self.operations if self.operations.count(each) > 1), None)
        if twice is not None:
            raise PydanticCustomError("operations", "has {name} twice", {"name": repr(twice)})
        unknown = next((name for name in self.effects if name not in self.operations), None)
        if unknown is not None:
            context = {"name": repr(unknown), "hint": f"operations are {', '.join(self.operations)}"}
            raise PydanticCustomError("effects", "names the operation {name}, which is not among them", context)
        own = self.auth.name if isinstance(self.auth, HeaderAuth) else "authorization"
        if self.auth is not None and own.lower() in {name.lower() for name in self.headers}:
            raise PydanticCustomError("auth", "has both auth and the header {name}", {"name": own})
        return self
