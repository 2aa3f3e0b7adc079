"""Makes the built-in that a declaration names. What only one of them needs is imported when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astromesh_core.errors import Bug
from astromesh_core.resources.builtin_configs import (
    AskHumanConfig,
    CalculatorConfig,
    DatetimeNowConfig,
    JsonQueryConfig,
    ReadFileConfig,
    ReadResultConfig,
    SqlQueryConfig,
    WebScrapeConfig,
)

if TYPE_CHECKING:
    from astromesh_core.resources.agent_tools import BuiltinTool as Declared
    from astromesh_tools.builtin.tool import Builtin
    from astromesh_tools.surroundings import Surroundings


def opened(declared: Declared, around: Surroundings) -> Builtin:
    """The built-in, configured. Raises InvalidInput or NotSupported where it cannot be offered."""
    match declared.config:
        case DatetimeNowConfig() as config:
            from astromesh_tools.builtin.datetime_now import DatetimeNow

            return DatetimeNow(config, around.clock)
        case CalculatorConfig():
            from astromesh_tools.builtin.calculator import Calculator

            return Calculator()
        case JsonQueryConfig():
            from astromesh_tools.builtin.json_query import JsonQuery

            return JsonQuery(around.threads)
        case WebScrapeConfig() as config:
            from astromesh_tools.builtin.web_scrape import WebScrape

            return WebScrape(config, around.outbound, around.threads)
        case ReadFileConfig() as config:
            from astromesh_tools.builtin.read_file import ReadFile

            return ReadFile(config, around.config_folder, around.data_folder, around.threads)
        case SqlQueryConfig() as config:
            from astromesh_tools.builtin.sql_query import SqlQuery

            return SqlQuery(config, declared.timeout_seconds, around)
        case AskHumanConfig():
            from astromesh_tools.builtin.ask_human import AskHuman

            return AskHuman()
        case ReadResultConfig():
            raise Bug(f"{declared.name} needs to know the run: it is a tool of its own")
