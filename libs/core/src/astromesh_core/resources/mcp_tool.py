"""MCP servers as an agent declares them: how one is reached, which of its tools are offered, and what they do to the
world. Reaching it is the tools service's."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, Self, cast

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.headers import SET_BY_ITSELF, check_headers
from astromesh_core.resources.spelling import Items, Spec, is_mapping, shaped, spelled
from astromesh_core.resources.urls import HttpAddress
from astromesh_core.resources.webhook_tool import Auth, HeaderAuth

Transport = Literal["stdio", "sse", "http"]
McpType = Literal["mcp", "mcp_stdio", "mcp_sse", "mcp_http"]
ToolEffect = Literal["read", "idempotent", "write"]

_SPELLINGS: Final = {"streamable_http": "http", "streamable-http": "http", "streamableHttp": "http"}
_OURS: Final = SET_BY_ITSELF | {
    "accept",
    "content-type",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "last-event-id",
}
_OF_A_COMMAND: Final = ("args", "env", "cwd")
_OF_AN_ADDRESS: Final = ("headers", "auth", "allow_private")

_Variable = Annotated[str, shaped(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable", "API_KEY")]


def _transport(value: object) -> object:
    return _SPELLINGS.get(value, value) if isinstance(value, str) else value


class OfferedTools(Spec):
    """Which of a server's tools an agent is offered, by their names there; `*` and `?` stand for any text and any
    letter. Without `include`, all but those excluded."""

    include: Items[str] = ()
    exclude: Items[str] = ()

    def offers(self, name: str) -> bool:
        """Whether the tool of this name is offered."""
        included = not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(name, pattern) for pattern in self.exclude)

    @property
    def named(self) -> tuple[str, ...]:
        """The tools that are asked for by name: one that is not there is missed."""
        return tuple(pattern for pattern in self.include if not set("*?[") & set(pattern))


def _offered(value: object) -> object:
    return {"include": cast("list[object]", value)} if isinstance(value, list) else value


class McpServer(Spec):
    """What an entry of type mcp says of its server. Texts of command, arguments, environment, address and headers may
    hold `${NAME}`."""

    transport: Annotated[Transport | None, BeforeValidator(_transport)] = None
    """None: stdio of a command, streamable HTTP of an address."""
    command: str | None = None
    """A program that speaks MCP on its standard input and output."""
    args: Items[str] = ()
    env: dict[_Variable, str] = Field(default_factory=dict[str, str])
    """What it gets of the environment, besides PATH, HOME and the like."""
    cwd: str | None = None
    """Where it runs, relative to the config folder; None: there."""
    url: HttpAddress | None = Field(default=None, validation_alias=spelled("url", "endpoint"))
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    auth: Auth | None = None
    allow_private: bool = False
    """Whether the server may lie inside the network: on this machine, in a private range, at a cloud's metadata."""
    tools: Annotated[OfferedTools, BeforeValidator(_offered)] = OfferedTools()
    prefix: Annotated[str, shaped(r"[A-Za-z0-9_-]{0,32}", "the beginning of a tool's name", "files_")] = ""
    """Stands before the name of each tool, so that two servers may offer tools of one name."""
    effect: ToolEffect | None = None
    """Of every tool that `effects` does not name; None: as the server's annotations say, write where they say nothing.
    """
    effects: dict[str, ToolEffect] = Field(default_factory=dict[str, ToolEffect])
    """By the name of a tool on the server; `*` and `?` as in `tools`. The longest that fits counts."""
    resources: bool = False
    """Whether the agent may list and read the server's resources, by two more tools."""
    prompts: bool = False
    """Whether the agent may list and get the server's prompts, by two more tools."""
    required: bool = True
    """Whether a run fails at its start where the server is away; else it goes on without its tools."""
    timeout_seconds: float = Field(default=30, gt=0, le=3600, validation_alias=spelled("timeout_seconds", "timeout"))
    connect_timeout_seconds: float = Field(default=10, gt=0, le=300)
    """For the server to start, to be reached, and to list its tools."""

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        check_headers(value, _OURS)
        return value

    @property
    def way(self) -> Transport:
        """How the server is reached."""
        return self.transport or ("stdio" if self.command is not None else "http")

    def effect_of(self, name: str) -> ToolEffect | None:
        """What is declared of the tool of this name on the server; None: nothing."""
        fitting = [pattern for pattern in self.effects if fnmatchcase(name, pattern)]
        exact = name if name in self.effects else max(fitting, key=len, default=None)
        return self.effect if exact is None else self.effects[exact]

    @model_validator(mode="after")
    def _is_one_server(self) -> Self:
        if self.way == "stdio":
            self._has("command", "a program to start, such as npx", _OF_AN_ADDRESS, "url")
        else:
            self._has("url", "an address, such as https://example.com/mcp", _OF_A_COMMAND, "command")
        own = self.auth.name if isinstance(self.auth, HeaderAuth) else "authorization"
        if self.auth is not None and own.lower() in {name.lower() for name in self.headers}:
            raise PydanticCustomError("auth", "has both auth and the header {name}", {"name": own})
        return self

    def _has(self, needed: str, hint: str, others: tuple[str, ...], other: str) -> None:
        if not getattr(self, needed):
            context = {"transport": self.way, "needed": needed, "hint": hint}
            raise PydanticCustomError("transport", "reaches its server by {transport} and needs {needed}", context)
        told = [name for name in (other, *others) if getattr(self, name)]
        if told:
            context = {"transport": self.way, "told": told[0], "hint": f"leave {told[0]} out, or change the transport"}
            raise PydanticCustomError("transport", "reaches its server by {transport}, which has no {told}", context)


def of_its_type(value: object) -> object:
    """Puts the transport that a type names (`mcp_stdio`) in its place. Raises PydanticCustomError for another one."""
    if not is_mapping(value):
        return value
    kind = value.get("type")
    named = kind.removeprefix("mcp_") if isinstance(kind, str) and kind.startswith("mcp_") else None
    if named is None:
        return value
    told = _transport(value.get("transport") or named)
    if told != named:
        context = {"type": kind, "transport": str(told), "hint": "write type: mcp, or leave transport out"}
        raise PydanticCustomError("transport", "has type {type} and the transport {transport}", context)
    return {**value, "transport": named}
