"""RuntimeConfig: the mesh's own settings that stand in the config folder. Those of one process are `core.settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from astromesh_core.resources.audit import Audit
from astromesh_core.resources.budgets import ScopedBudget
from astromesh_core.resources.orchestration import Orchestration
from astromesh_core.resources.references import Name
from astromesh_core.resources.spelling import Items, Spec, shaped, spelled
from astromesh_core.resources.urls import HttpUrl


class Api(Spec):
    """Where the gateway listens. None leaves it to the command line and the environment."""

    host: str | None = Field(default=None, min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)
    grpc_port: int | None = Field(default=None, ge=1, le=65535)


class ApiKey(Spec):
    """A key that may call the mesh. Only its hash is written down."""

    name: Name
    hash: Annotated[str, shaped(r"sha256:[0-9a-f]{64}", "a hash", "sha256:9f86d081… with 64 digits of 0-9 and a-f")]
    """`sha256:` and the lower-case hex of the key's SHA-256."""
    namespace: Name = "default"
    role: Literal["admin", "user", "viewer"] = "user"


class Admission(Spec):
    """How many runs a namespace may have open before further ones are refused with 429."""

    max_open_runs: int = Field(default=1000, ge=1)


class Otlp(Spec):
    """Where spans are sent."""

    enabled: bool = True
    endpoint: HttpUrl | None = None


class Telemetry(Spec):
    """What is told to the outside about runs. Message content only when switched on."""

    otlp: Otlp | None = None
    record_content: bool = False


class Services(Spec):
    """Which services run in `astromesh up`."""

    gateway: bool = Field(default=True, validation_alias=spelled("gateway", "api"))
    runtime: bool = Field(default=True, validation_alias=spelled("runtime", "agents"))
    router: bool = Field(default=True, validation_alias=spelled("router", "inference"))
    memory: bool = True
    tools: bool = True
    guardrails: bool = True
    rag: bool = True
    history: bool = True
    operator: bool = True
    channels: bool = False
    observability: bool = True

    @property
    def off(self) -> frozenset[str]:
        """Those that are switched off. One may run all the same, started by itself with `astromesh serve`."""
        return frozenset(name for name in type(self).model_fields if not getattr(self, name))


class Mcp(Spec):
    """Agents as tools of MCP clients, at `/mcp` of the gateway."""

    enabled: bool = True
    agents: Items[Name] | None = None
    """Which agents of the namespace are offered; None: all."""

    def offers(self, agent: str) -> bool:
        """Whether this agent is one of them."""
        return self.enabled and (self.agents is None or agent in self.agents)


class Defaults(Spec):
    """What agents have that do not say otherwise."""

    orchestration: Orchestration = Orchestration()


class RuntimeConfigSpec(Spec):
    """The settings as they were declared."""

    api: Api = Api()
    api_keys: Items[ApiKey] = ()
    admission: Admission = Admission()
    telemetry: Telemetry = Field(default=Telemetry(), validation_alias=spelled("telemetry", "observability"))
    services: Services = Services()
    mcp: Mcp = Mcp()
    audit: Audit = Audit()
    defaults: Defaults = Defaults()
    budgets: Items[ScopedBudget] = ()
