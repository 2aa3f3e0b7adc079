"""The tools that come with Astromesh: what each is told to a model, and what an agent's file may say of it.

What they do stands in the tools service, and asking a human in the runtime. All of them read and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

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
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.spelling import Spec

LONGEST_EXPRESSION: Final = 1_000
LONGEST_PATH: Final = 1_000
LONGEST_QUESTION: Final = 4_000
LONGEST_URL: Final = 4_000
PAGE_LENGTH: Final = 10_000
"""Characters of a page that are read, unless a call says more or less."""

RESULT_LENGTH: Final = 20_000
"""Characters of a cut result that are read, unless a call says more or less."""

LONGEST_QUERY: Final = 10_000
LINES_READ: Final = 500
MOST_LINES: Final = 5_000
MOST_SHOWN: Final = 90_000
"""Characters that one call may ask for."""


@dataclass(frozen=True)
class Builtin:
    """One built-in tool: its description and the JSON Schema of its arguments for models, its config for files."""

    description: str
    parameters: dict[str, JsonValue]
    config: type[Spec]


def _taking(required: list[str], **properties: JsonValue) -> dict[str, JsonValue]:
    schema: dict[str, JsonValue] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": [*required]} if required else schema


ASK_HUMAN: Final = "ask_human"
"""The one that is answered by a human: the run waits for it."""

READ_RESULT: Final = "read_result"
"""The one that reads what is cut off from results of its run."""

BUILTINS: Final[dict[str, Builtin]] = {
    "datetime_now": Builtin(
        "Tells the current date and time.",
        _taking(
            [],
            timezone={"type": "string", "description": "Name of the IANA database, such as UTC or Europe/Zurich."},
        ),
        DatetimeNowConfig,
    ),
    "calculator": Builtin(
        "Computes an arithmetic expression, exactly where that is possible. Use it for every calculation.",
        _taking(
            ["expression"],
            expression={
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST_EXPRESSION,
                "description": "Such as (1299.90 - 200) * 1.081 or sqrt(2) ** 3. Operators: + - * / // % **. "
                "Functions: abs, round, floor, ceil, min, max, sum, mean, sqrt, exp, ln, log, log2, log10, sin, cos, "
                "tan, asin, acos, atan, degrees, radians, factorial, gcd, lcm. Constants: pi, e.",
            },
        ),
        CalculatorConfig,
    ),
    "json_query": Builtin(
        "Reads values out of JSON by a JSONPath, so that you need not look for them yourself.",
        _taking(
            ["data", "path"],
            data={"type": ["string", "object", "array"], "description": "The JSON, as text or as it is."},
            path={
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST_PATH,
                "description": "A JSONPath (RFC 9535), such as $.orders[?@.total > 100].id. Of a path to one place "
                "its value is returned, else the list of all that is found.",
            },
        ),
        JsonQueryConfig,
    ),
    "web_scrape": Builtin(
        "Reads a page of the web, as Markdown with its links, or what an address answers in JSON or text.",
        _taking(
            ["url"],
            url={"type": "string", "minLength": 1, "maxLength": LONGEST_URL, "description": "With http:// or https://"},
            max_length={
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_SHOWN,
                "default": PAGE_LENGTH,
                "description": "Characters to read at most.",
            },
            start={
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "The character to begin at, to go on where an earlier call ended.",
            },
        ),
        WebScrapeConfig,
    ),
    "read_file": Builtin(
        "Reads lines of a text file, or lists a folder. Without a path it lists what there is to read.",
        _taking(
            [],
            path={
                "type": "string",
                "maxLength": LONGEST_URL,
                "default": "",
                "description": "Of a file or a folder, such as guides/prices.md.",
            },
            offset={
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": "The line to begin at, to go on where an earlier call ended.",
            },
            limit={
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_LINES,
                "default": LINES_READ,
                "description": "Lines to read at most.",
            },
        ),
        ReadFileConfig,
    ),
    "sql_query": Builtin(
        "Asks a database by one SQL statement that reads. Without a query it shows the tables and their columns.",
        _taking(
            [],
            query={
                "type": "string",
                "maxLength": LONGEST_QUERY,
                "description": "One SELECT. Values stand in params, each as ? in SQLite and %s in PostgreSQL.",
            },
            params={
                "type": "array",
                "items": {"type": ["string", "number", "boolean", "null"]},
                "maxItems": 100,
                "description": "The values, in their order.",
            },
        ),
        SqlQueryConfig,
    ),
    READ_RESULT: Builtin(
        "Reads on in a result of this run that was cut. The cut itself says with which arguments.",
        _taking(
            ["path"],
            path={"type": "string", "pattern": r"^[0-9.]{1,40}$", "description": "Of the call, as the cut says."},
            start={"type": "integer", "minimum": 0, "default": 0, "description": "The first character."},
            max_length={
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_SHOWN,
                "default": RESULT_LENGTH,
                "description": "Characters to read at most.",
            },
        ),
        ReadResultConfig,
    ),
    ASK_HUMAN: Builtin(
        "Asks the user a question and waits for the answer. Use it only for what you cannot find out otherwise, and "
        "ask one thing at a time.",
        _taking(
            ["question"],
            question={"type": "string", "minLength": 1, "maxLength": LONGEST_QUESTION},
            choices={
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 200},
                "minItems": 2,
                "maxItems": 20,
                "description": "What may be answered. Without it: anything.",
            },
        ),
        AskHumanConfig,
    ),
}
"""By name, in the order in which they are listed."""

_WEBHOOK: Final = "declare an endpoint with type: webhook"
_FUNCTION: Final = "write a Python function and declare it with type: internal"

_ELSEWHERE: Final = {
    "cache_store": _FUNCTION,
    "graphql_query": _WEBHOOK,
    "http_request": _WEBHOOK,
    "json_transform": "use json_query",
    "rag_ingest": "documents are taken in by the pipeline: see its ingestion",
    "rag_query": "declare a pipeline with type: rag",
    "send_email": _FUNCTION,
    "send_message": "channels answer by themselves",
    "send_slack": _WEBHOOK,
    "send_webhook": _WEBHOOK,
    "text_summarize": "the agent's own model summarizes",
    "web_search": _WEBHOOK,
    "wikipedia": _WEBHOOK,
    "write_file": _FUNCTION,
}
"""Names that earlier versions had, and what to do instead."""


def advice(name: str) -> str:
    """What to write instead of the name of a built-in that there is not."""
    return _ELSEWHERE.get(name) or did_you_mean(name, BUILTINS) or f"there are {', '.join(BUILTINS)}"
