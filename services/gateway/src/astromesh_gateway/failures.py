"""Errors as HTTP answers: problem documents (RFC 9457), with the run where there is one. OpenAI's format stands in
`routes.openai_replies`."""

from __future__ import annotations

from http import HTTPStatus
from typing import cast

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from astromesh_core.errors import AstromeshError, Bug, InvalidInput, NotFound
from astromesh_core.problems import MEDIA_TYPE, http_status, problem, retry_after_header
from astromesh_core.resources.problems import InvalidResource, Problem, dotted
from astromesh_gateway.admission import EmptyQuery
from astromesh_gateway.auth import Unauthenticated
from astromesh_gateway.bodies import TooLarge, Unprocessable

_STATUSES: dict[type[AstromeshError], int] = {
    Unauthenticated: 401,
    TooLarge: 413,
    Unprocessable: 422,
    EmptyQuery: 422,
    InvalidResource: 422,
}
"""Where HTTP tells apart what the error's class does not."""

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

Document = dict[str, JsonValue]


def status_of(error: AstromeshError) -> int:
    """The HTTP status of an error."""
    return next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), http_status(error))


def headers_of(error: AstromeshError) -> dict[str, str]:
    """What an error says in headers."""
    headers: dict[str, str] = {}
    delay = retry_after_header(error)
    if delay is not None:
        headers["Retry-After"] = delay
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def problem_document(error: AstromeshError, instance: str = "", run_id: str = "") -> Document:
    """The problem document of an error; of a body or a resource that is refused, with each reason and its place."""
    document = cast("Document", problem(error, instance, run_id))
    document["status"] = status_of(error)
    if isinstance(error, Unprocessable | InvalidResource):
        document["errors"] = [
            {"path": item.path, "reason": item.reason, "hint": item.hint, "code": item.code} for item in error.problems
        ]
    return document


def problem_response(error: AstromeshError, instance: str = "", run_id: str = "") -> Response:
    """The answer that an error becomes."""
    headers = headers_of(error)
    if run_id:
        headers["X-Run-Id"] = run_id
    body = orjson.dumps(problem_document(error, instance, run_id))
    return Response(body, status_of(error), headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes every error that leaves a route a problem document."""
    app.add_exception_handler(AstromeshError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> Response:
    return problem_response(cast("AstromeshError", error), request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    problems = [
        # The first part of the place says whether it stands in the body, the query or the path.
        Problem("", 0, dotted(detail["loc"][1:]) or str(detail["loc"][0]), detail["msg"], code=detail["type"])
        for detail in cast("RequestValidationError", error).errors()
    ]
    if any(item.code == "json_invalid" for item in problems):
        return problem_response(InvalidInput("the body is not JSON in UTF-8"), request.url.path)
    return problem_response(Unprocessable(problems), request.url.path)


async def _http(request: Request, error: Exception) -> Response:
    raised = cast("HTTPException", error)
    if raised.status_code == 404:
        return problem_response(NotFound(f"there is nothing at {request.url.path}"), request.url.path)
    document = {
        "type": "about:blank",
        "title": HTTPStatus(raised.status_code).phrase,
        "status": raised.status_code,
        "detail": f"{request.method} {request.url.path}: {raised.detail}",
        "instance": request.url.path,
    }
    headers = dict(raised.headers or {})
    if raised.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    return Response(orjson.dumps(document), raised.status_code, headers, MEDIA_TYPE)


def _allowed(request: Request) -> list[str]:
    """What the path answers to. The framework names the methods of the first route alone."""
    routes = cast("FastAPI", request.app).routes
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _left(request: Request, error: Exception) -> Response:
    del request, error
    # Nobody reads it.
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs it, with its trace.
    return problem_response(Bug(f"{type(error).__name__}; the gateway's log has the cause"), request.url.path)
