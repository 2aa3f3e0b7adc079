"""Tools that retrieve: the model asks, a pipeline of the rag service answers with passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import orjson
from pydantic import JsonValue

from astromesh.v1.rag_pb2 import QueryRequest
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, Failure, Passage, ToolResult, ToolSpec
from astromesh_core.errors import AstromeshError
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.agent_tools import RagTool
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.tool import Clock, Invocation

if TYPE_CHECKING:
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub

_SCHEMA: Final = ArgumentsSchema(
    {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "minLength": 1,
                "description": "What to look for, in whole words or a question.",
            },
            "filter": {
                "type": "object",
                "description": 'Only passages whose metadata meets it, such as {"source": "prices.md"} or '
                '{"year": {"$gte": 2024}}. Leave it out unless you know the keys.',
            },
        },
        "required": ["query"],
        "additionalProperties": False,
    }
)


class RetrievalTool:
    """One pipeline, as an agent's tool. A pipeline without a namespace is in the agent's."""

    def __init__(self, declared: RagTool, namespace: str, rag: RagServiceAsyncStub, clock: Clock) -> None:
        of, _, self._pipeline = declared.pipeline.rpartition("/")
        self._namespace = of or namespace
        self._top_k = declared.top_k or 0
        self._filter = declared.filter
        self._seconds = declared.timeout_seconds
        self._rag = rag
        self._clock = clock
        self.spec = ToolSpec(
            name=declared.name,
            description=declared.description or f"Searches {self._pipeline} and returns the passages that fit best.",
            parameters_json=_SCHEMA.text,
            effect=TOOL_EFFECT_KIND_READ,
            timeout_ms=round(declared.timeout_seconds * 1000),
            type="rag",
            retrieves=True,
        )

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Retrieves. Every failure is definite: nothing was changed."""
        try:
            invocation.check_start(self.spec.name, self._clock())
            arguments = _SCHEMA.read(invocation.arguments)
            request = QueryRequest(
                namespace=self._namespace,
                pipeline=self._pipeline,
                query=text_content(str(arguments["query"])),
                top_k=self._top_k,
                filter_json=_both(self._filter, arguments.get("filter")),
            )
            found = await self._rag.Query(request, timeout=self._seconds)
            output = passages_json(found.passages)
        except AstromeshError as error:
            return failure_of(error)
        return ToolResult(
            tool_call_id=invocation.call_id,
            name=self.spec.name,
            output=text_content(output),
            passages=found.passages,
        )


def _both(declared: Mapping[str, JsonValue], asked: object) -> str:
    """What is declared and what the model asks for, as one filter; "" for neither."""
    parts = [part for part in (declared, asked) if part]
    return orjson.dumps(parts[0] if len(parts) == 1 else {"$and": parts}).decode() if parts else ""


def passages_json(passages: Sequence[Passage]) -> str:
    """Returns passages as a model reads them, best first."""
    return orjson.dumps(
        {
            "passages": [
                {
                    "source": passage.source,
                    "text": plain(passage.text),
                    "score": round(passage.score, 4),
                    "start": passage.start,
                    "end": passage.end,
                }
                for passage in passages
            ]
        }
    ).decode()
