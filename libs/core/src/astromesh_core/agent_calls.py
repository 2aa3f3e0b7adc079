"""What an agent is asked by another one: the parameters that a model fills, and how they become a question. Pure."""

from __future__ import annotations

from typing import Final

import orjson
from pydantic import JsonValue

from astromesh_core.errors import InvalidInput

PARAMETERS: Final[dict[str, JsonValue]] = {
    "type": "object",
    "properties": {
        "query": {
            "type": "string",
            "minLength": 1,
            "description": "The task or question, complete in itself: the agent sees nothing of this conversation.",
        },
        "context": {
            "type": "string",
            "description": "What the agent has to know beside the question: facts, texts, earlier results.",
        },
    },
    "required": ["query"],
    "additionalProperties": False,
}
"""Of every tool of type agent."""

PARAMETERS_JSON: Final = orjson.dumps(PARAMETERS).decode()


def question_of(arguments: str) -> str:
    """The question that a call's arguments (JSON text) come to. Raises InvalidInput, saying what is wrong with them."""
    try:
        given: JsonValue = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the arguments are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InvalidInput("the arguments must be an object with a query")
    unknown = sorted(given.keys() - {"query", "context"})
    if unknown:
        raise InvalidInput(f"there is no parameter {unknown[0]!r}: there are query and context")
    query, context = given.get("query"), given.get("context") or ""
    if not isinstance(query, str) or not query.strip():
        raise InvalidInput("query is missing: a text that says what the agent is to do")
    if not isinstance(context, str):
        raise InvalidInput("context must be a text")
    return question(query, context)


def question(query: str, context: str = "") -> str:
    """The question with what has to be known beside it."""
    return f"{query}\n\nContext:\n{context}" if context.strip() else query
