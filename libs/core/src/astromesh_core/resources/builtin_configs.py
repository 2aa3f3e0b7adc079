"""What `config` of each built-in tool may hold. Their arguments stand in `builtin_tools`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.spelling import Items, Spec, shaped, spelled
from astromesh_core.resources.time_zones import TimeZone
from astromesh_core.resources.tool_approval import WaitSeconds

HostPattern = Annotated[
    str, shaped(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", "a host in lower case", "example.com or *.example.com")
]


class DatetimeNowConfig(Spec):
    """Of `datetime_now`."""

    timezone: TimeZone = "UTC"
    """Where a call names none."""


class CalculatorConfig(Spec):
    """Of `calculator`: nothing."""


class JsonQueryConfig(Spec):
    """Of `json_query`: nothing."""


class WebScrapeConfig(Spec):
    """Of `web_scrape`."""

    allowed_hosts: Items[HostPattern] = ()
    """`example.com`, or `*.example.com` for all below it. None: every host."""
    allow_private: bool = False
    """Whether pages may lie inside the network: on this machine, in a private range, at a cloud's metadata."""


class ReadFileConfig(Spec):
    """Of `read_file`."""

    roots: Items[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, validation_alias=spelled("roots", "allowed_paths")
    )
    """Folders that may be read, with all below them; a relative one starts at the config folder."""


class SqlQueryConfig(Spec):
    """Of `sql_query`."""

    path: str | None = Field(default=None, min_length=1)
    """An SQLite file; a relative one starts at the config folder."""
    url: str | None = Field(default=None, min_length=1, validation_alias=spelled("url", "connection_string"))
    """`postgresql://…` or `sqlite:///path`; a password stands in it as `${NAME}`."""
    max_rows: int = Field(default=200, ge=1, le=10_000)
    read_only: bool = True

    @model_validator(mode="after")
    def _names_one_database(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise PydanticCustomError("database", "needs a path or a url, and one of them alone")
        if self.url is not None and not self.url.startswith(("${", "sqlite:///", "postgresql", "postgres:")):
            hint = "such as postgresql://host:5432/database or sqlite:///file.db"
            raise PydanticCustomError("database", "has a url of a database that cannot be asked", {"hint": hint})
        if not self.read_only:
            hint = "write a Python function and declare it with type: internal"
            raise PydanticCustomError("database", "asks for writes, and sql_query only reads", {"hint": hint})
        return self

    @property
    def is_postgres(self) -> bool:
        """Whether it needs PostgreSQL's driver, as far as the file tells."""
        return self.url is not None and self.url.startswith("postgres")


class AskHumanConfig(Spec):
    """Of `ask_human`."""

    timeout_seconds: WaitSeconds | None = None
    """A question that nobody answered by then is answered so. None: it waits for as long as it takes."""


class ReadResultConfig(Spec):
    """Of `read_result`: nothing."""


BuiltinConfig = (
    AskHumanConfig
    | ReadResultConfig
    | DatetimeNowConfig
    | CalculatorConfig
    | JsonQueryConfig
    | WebScrapeConfig
    | ReadFileConfig
    | SqlQueryConfig
)
