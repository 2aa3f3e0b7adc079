"""What a process is told from outside: by `ASTROMESH_*` variables, by the command's options, else these defaults.
How agents behave is no setting: that stands in resources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from astromesh_core.errors import InvalidInput
from astromesh_core.telemetry.logs import LogFormat

PREFIX = "ASTROMESH_"

ADDRESS_FILE = "address"
"""In the data folder of a mesh whose gateway serves: the URL of its HTTP."""


class Settings(BaseSettings):
    """Each has a default that suits one machine. Read with `load_settings`, which says what is wrong in words."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    config_dir: Path = Path("config")
    """Folder of the resources: agents/, rag/, providers.yaml, tools/ and so on."""

    data_dir: Path = Path(".astromesh")
    """Folder of everything that is kept: the log, databases, indexes, keys. Private to its owner; one mesh at a
    time."""

    host: str = "127.0.0.1"
    """Where HTTP and public gRPC listen. Anything but this machine is refused without API keys."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Of HTTP. 0 takes a free one."""

    grpc_port: int = Field(default=8001, ge=0, le=65535)
    """Of the public AgentService. 0 takes a free one."""

    nats_url: str = ""
    """An existing NATS server or cluster. Empty: an embedded one, in the data folder."""

    nats_credentials: Path | None = None
    """File with user and password for `nats_url`, as the embedded server keeps them under nats/credentials/."""

    nats_port: int = Field(default=0, ge=0, le=65535)
    """Of the embedded server, on loopback. 0 takes a free one."""

    nats_max_store_bytes: int | None = Field(default=None, gt=0)
    """What the embedded server may keep on disk; full, it refuses new runs. Unset: what the disk has."""

    rpc_address: str = ""
    """Where a process of its own serves other services: `host:port` or `unix:/path`. Empty: a socket in the data
    folder."""

    peers: dict[str, str] = Field(default_factory=dict)
    """JSON object from service to the address where it is served. One that is missing is looked for in the data
    folder."""

    mesh_token: SecretStr = SecretStr("")
    """What services of one mesh show each other. Empty: generated, in the data folder. Set it where folders are not
    shared."""

    mesh_key: SecretStr = SecretStr("")
    """Key of the hashes that name sessions and runs, 64 hexadecimal digits. Empty: generated, in the data folder.
    Never change it: names change with it."""

    drain_seconds: float = Field(default=10.0, ge=0)
    """How long a stopping process lets calls and services finish."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = "auto"
    """`auto`: coloured lines on a terminal, JSON elsewhere."""

    record_content: bool = False
    """Whether logs and traces may hold what people and models said. Events always do."""

    otlp_endpoint: str = ""
    """Base address of an OTLP/HTTP collector, such as http://localhost:4318. Empty: no spans are recorded."""

    serve_metrics: bool = True
    """Whether the gateway answers `/metrics`, to everybody who reaches it. It holds names and counts, never content."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Where this process serves its own metrics, on `host` and to everybody who reaches it. 0: nowhere. With
    `up --processes` it is the first one's; each further process has the next port."""

    metric_names: int = Field(default=200, ge=1)
    """Distinct agents, models, tools … that metrics tell apart; the others count as "other"."""


def load_settings(given: Mapping[str, object] | None = None) -> Settings:
    """The settings of the environment, overridden by `given`.

    Raises InvalidInput, which names the variable and what is wrong with it.
    """
    try:
        # The values are checked by the model, which is the point: they come from a command line.
        return Settings(**dict(given or {}))  # pyright: ignore[reportArgumentType] - checked by pydantic at run time
    except (ValidationError, SettingsError) as error:
        raise InvalidInput(_words(error)) from None


def _words(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return f"{error}: its value must be JSON."
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"Setting {PREFIX}{field.upper()}: {first['msg']}."
