"""OpenAI's formats: replies, chunks and errors. What clients send: `openai_requests`.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import orjson
from fastapi import Response
from pydantic import JsonValue

from astromesh.v1.runs_pb2 import Run
from astromesh.v1.values_pb2 import Usage
from astromesh_core.errors import AstromeshError, NotFound, RateLimited
from astromesh_core.problems import MEDIA_TYPE
from astromesh_gateway.auth import Unauthenticated
from astromesh_gateway.failures import headers_of, problem_document, status_of
from astromesh_gateway.shown import shown

Document = dict[str, JsonValue]

CUT_OFF = frozenset({"length", "content_filter"})
"""Finish reasons of an answer that is not whole."""


def completion(run: Run, created: int) -> Document:
    """A whole chat completion."""
    return {
        "id": f"chatcmpl-{run.run_id}",
        "object": "chat.completion",
        "created": created,
        "model": run.agent,
        "run_id": run.run_id,
        "session_id": shown(run.session_id),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": shown(run.answer), "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason(run),
            }
        ],
        "usage": usage(run.usage),
        **warned(run),
    }


def warned(run: Run) -> Document:
    """What the answer lacks, where it lacks anything."""
    return {"warnings": list(run.warnings)} if run.warnings else {}


def chunk(run_id: str, model: str, created: int, delta: Document, finish_reason: str | None = None) -> Document:
    """A piece of a streamed completion."""
    return {
        "id": f"chatcmpl-{run_id}",
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "run_id": run_id,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }


def finish_reason(run: Run) -> str:
    """Why an answer ended. Calls of tools are the agent's own affair: to a caller they end nothing."""
    return run.finish_reason if run.finish_reason in CUT_OFF else "stop"


def usage(used: Usage) -> Document:
    """Tokens in OpenAI's words."""
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
    }


def error_document(error: AstromeshError, run_id: str = "") -> Document:
    """An error in OpenAI's format within a problem document, and the run it happened in."""
    kind, code = _kind(error)
    body: Document = {"message": error.message, "type": kind, "param": None, "code": code}
    if run_id:
        body["run_id"] = run_id
    return {**problem_document(error, run_id=run_id), "error": body}


def error_response(error: AstromeshError, run_id: str = "") -> Response:
    """The answer that an error becomes. One of a run that exists is not to be tried again by the client on its own."""
    headers = headers_of(error)
    if run_id:
        headers |= {"X-Run-Id": run_id, "X-Should-Retry": "false"}
    return Response(orjson.dumps(error_document(error, run_id)), status_of(error), headers, MEDIA_TYPE)


def _kind(error: AstromeshError) -> tuple[str, str]:
    if isinstance(error, Unauthenticated):
        return "authentication_error", "invalid_api_key"
    if isinstance(error, RateLimited):
        return "rate_limit_error", "rate_limit_exceeded"
    if isinstance(error, NotFound):
        return "invalid_request_error", "model_not_found"
    return ("server_error" if status_of(error) >= 500 else "invalid_request_error"), error.code
