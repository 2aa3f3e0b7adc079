"""The tools of an agent, by type, and the shape of their parameters. Executing them is the tools service's."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.agent_calls import PARAMETERS
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.builtin_configs import BuiltinConfig, CalculatorConfig
from astromesh_core.resources.builtin_tools import ASK_HUMAN, BUILTINS, advice
from astromesh_core.resources.mcp_tool import McpServer, McpType, of_its_type
from astromesh_core.resources.openapi_tool import OpenApi
from astromesh_core.resources.references import Name, Reference
from astromesh_core.resources.spelling import is_mapping, shaped, spelled
from astromesh_core.resources.tool_approval import Approval, Approver, WaitSeconds, check_names
from astromesh_core.resources.tool_controls import ToolControls
from astromesh_core.resources.tool_isolation import Isolation
from astromesh_core.resources.tool_recovery import Compensate, Reconcile, check_effect
from astromesh_core.resources.urls import HttpAddress
from astromesh_core.resources.webhook_tool import Webhook
from astromesh_core.written_filters import filter_of

_TYPES = frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))

Effect = Literal["read", "idempotent", "write"]

DISCOVERED = frozenset(("mcp", "mcp_stdio", "mcp_sse", "mcp_http", "openapi"))
"""Types whose one declaration may stand for several tools, under names that are known when a run starts."""


def _schema(value: object) -> object:
    """Checks the shape of a JSON Schema for an object; unfolds the short form `{param: {type, description}}`."""
    if not is_mapping(value):
        return value
    is_short = not value.keys() & {"type", "properties"} and all(is_mapping(inner) for inner in value.values())
    declared: dict[str, JsonValue] = {"properties": value} if is_short else value
    schema = {**_no_parameters(), **declared}
    if schema["type"] != "object":
        raise PydanticCustomError("schema", "must be a JSON Schema of type object")
    _check_properties(schema)
    return schema


def _check_properties(schema: dict[str, JsonValue]) -> None:
    properties = schema["properties"]
    if not is_mapping(properties):
        raise PydanticCustomError("schema", "has properties that are not a mapping")
    for name, inner in properties.items():
        _check_types(name, inner)
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise PydanticCustomError("schema", "has a 'required' that is not a list of names")
    unknown = next((name for name in required if name not in properties), None)
    if unknown is not None:
        raise PydanticCustomError(
            "schema", "requires {name}, which is not among its properties", {"name": repr(unknown)}
        )


def _check_types(name: str, inner: JsonValue) -> None:
    if isinstance(inner, bool):
        return
    if not is_mapping(inner):
        raise PydanticCustomError("schema", "property {name} is not a schema", {"name": repr(name)})
    given = inner.get("type", [])
    types = given if isinstance(given, list) else [given]
    wrong = next((kind for kind in types if kind not in _TYPES), None)
    if wrong is not None:
        context = {"name": repr(name), "type": repr(wrong)}
        raise PydanticCustomError("schema", "property {name} has the unknown type {type}", context)


def _no_parameters() -> dict[str, JsonValue]:
    return {"type": "object", "properties": {}}


Parameters = Annotated[dict[str, JsonValue], BeforeValidator(_schema)]
"""A JSON Schema of type object."""

ToolName = Annotated[
    str, shaped(r"[A-Za-z0-9_-]{1,64}", "a name that models understand (1 to 64 letters, digits, _, -)", "search_docs")
]


class ToolSpec(ToolControls):
    """What tools of every type have."""

    name: ToolName
    description: str = ""
    approval: Approval | None = None
    """When a human is asked before a call. None: never."""
    approval_timeout_seconds: WaitSeconds | None = Field(
        default=None, validation_alias=spelled("approval_timeout_seconds", "approval_timeout")
    )
    """What nobody approved by then is denied. None: it waits for as long as it takes."""
    approval_role: Approver | None = None
    """Who may decide. None: any key that may run agents."""
    reconcile: Reconcile | None = None
    compensate: Compensate | None = None

    @model_validator(mode="after")
    def _says_what_it_can_keep(self) -> Self:
        parameters = self.taken()
        if self.approval is None and (self.approval_timeout_seconds or self.approval_role):
            raise PydanticCustomError("approval", "says how it is approved, and not when", {"hint": "write approval"})
        if self.approval is not None:
            check_names(self.approval, parameters)
        check_effect(getattr(self, "effect", None), self.reconcile, self.compensate, parameters)
        return self

    def taken(self) -> dict[str, JsonValue]:
        """The schema of what a call takes, as far as the file tells."""
        return getattr(self, "parameters", {})


class InternalTool(ToolSpec):
    """A Python function, found in `<config>/tools/` or on the Python path."""

    type: Literal["internal"]
    function: Annotated[str, shaped(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", "module:attribute", "shop:add")]
    """`module:attribute`."""
    parameters: Parameters = Field(default_factory=_no_parameters)
    effect: Effect = "write"
    timeout_seconds: float = Field(default=30, gt=0, le=3600, validation_alias=spelled("timeout_seconds", "timeout"))
    isolation: Isolation | None = None
    """None: it runs in the process of the tools service."""


class RagTool(ToolSpec):
    """Retrieval as a tool: the model asks, the pipeline answers with passages."""

    type: Literal["rag"]
    pipeline: Reference
    top_k: int | None = Field(default=None, ge=1, le=100)
    """None: the pipeline's own."""
    filter: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """What the metadata of every passage meets, whatever the model asks for."""
    timeout_seconds: float = Field(default=30, gt=0, le=3600, validation_alias=spelled("timeout_seconds", "timeout"))
    effect: ClassVar[Effect] = "read"

    @field_validator("filter")
    @classmethod
    def _is_a_filter(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        try:
            filter_of(value)
        except InvalidInput as error:
            raise PydanticCustomError("filter", "is no filter: {reason}", {"reason": error.message}) from error
        return value


class WebhookTool(ToolSpec, Webhook):
    """A call of an HTTP endpoint."""

    type: Literal["webhook"]
    endpoint: HttpAddress = Field(validation_alias=spelled("endpoint", "url"))
    parameters: Parameters = Field(default_factory=_no_parameters)
    effect: Effect = "write"
    timeout_seconds: float = Field(default=30, gt=0, le=3600, validation_alias=spelled("timeout_seconds", "timeout"))

    @model_validator(mode="before")
    @classmethod
    def _with_its_methods_effect(cls, value: object) -> object:
        """A GET changes nothing (RFC 9110, 9.2.1) unless the file says otherwise."""
        if is_mapping(value) and value.get("method") == "GET" and "effect" not in value:
            return {**value, "effect": "read"}
        return value

    @model_validator(mode="after")
    def _fills_its_places(self) -> Self:
        self.check_places(self.parameters)
        return self


class BuiltinTool(ToolSpec):
    """A tool that comes with Astromesh."""

    type: Literal["builtin"]
    tool: str = ""
    """Which one. Without it, the one that `name` names; with it, the model knows the tool by another name."""
    config: BuiltinConfig = CalculatorConfig()
    effect: ClassVar[Effect] = "read"
    timeout_seconds: float = Field(default=30, gt=0, le=3600, validation_alias=spelled("timeout_seconds", "timeout"))

    @model_validator(mode="before")
    @classmethod
    def _is_there(cls, value: object) -> object:
        if not is_mapping(value):
            return value
        which = value.get("tool", value.get("name"))
        if not isinstance(which, str):
            return value
        if which not in BUILTINS:
            context = {"name": repr(which[:80]), "hint": advice(which)}
            raise PydanticCustomError("builtin", "names the built-in tool {name}, which there is not", context)
        needed = [name for name, field in BUILTINS[which].config.model_fields.items() if field.is_required()]
        if needed and "config" not in value:
            context = {"name": which, "needed": ", ".join(needed)}
            raise PydanticCustomError("config", "needs a config, with {needed}", context)
        return {**value, "tool": which, "config": value.get("config", {})}

    @field_validator("config", mode="wrap")
    @classmethod
    def _is_of_this_tool(cls, value: object, _: object, info: ValidationInfo) -> object:
        builtin = BUILTINS.get(info.data.get("tool", ""))
        # Without one, what is wrong with the tool is told already.
        return value if builtin is None else builtin.config.model_validate(value)

    @model_validator(mode="after")
    def _asks_once(self) -> Self:
        if self.tool == ASK_HUMAN and self.approval is not None:
            hint = "what it asks is itself put to a human"
            raise PydanticCustomError("approval", "is asked for a question to a human", {"hint": hint})
        return self

    def taken(self) -> dict[str, JsonValue]:
        """See ToolSpec."""
        builtin = BUILTINS.get(self.tool)
        return {} if builtin is None else builtin.parameters


class McpTool(ToolSpec, McpServer):
    """The tools of an MCP server, under names of the server's."""

    type: McpType

    @model_validator(mode="before")
    @classmethod
    def _of_its_type(cls, value: object) -> object:
        return of_its_type(value)


class OpenapiTool(ToolSpec, OpenApi):
    """Operations of an OpenAPI document, each a tool under a name of its own."""

    type: Literal["openapi"]


class AgentTool(ToolSpec):
    """Another agent of the namespace: the model asks it, its answer is the result, and every call a run."""

    type: Literal["agent"]
    agent: Name
    timeout_seconds: float | None = Field(
        default=None, gt=0, le=86_400, validation_alias=spelled("timeout_seconds", "timeout")
    )
    """Of the agent's run. None: as long as the run that asks may take."""

    @model_validator(mode="after")
    def _leaves_undoing_to_its_run(self) -> Self:
        told = [name for name in ("reconcile", "compensate") if getattr(self, name) is not None]
        if told:
            context = {"name": told[0], "hint": "declare it at the tools of the agent that it runs"}
            raise PydanticCustomError("agent", "has {name}, and its calls are runs of their own", context)
        return self

    def taken(self) -> dict[str, JsonValue]:
        return PARAMETERS


Tool = Annotated[
    InternalTool | RagTool | WebhookTool | BuiltinTool | McpTool | OpenapiTool | AgentTool, Field(discriminator="type")
]
