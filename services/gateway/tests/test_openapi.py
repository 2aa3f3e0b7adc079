"""What the OpenAPI document promises to whoever generates a client from it."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from fastapi import APIRouter, FastAPI

from astromesh_gateway.openapi import finish
from astromesh_gateway.routes import (
    agents,
    costs,
    health,
    openai,
    rag,
    related,
    resources,
    running,
    runs,
    sessions,
    tools,
)

ROUTERS: tuple[APIRouter, ...] = tuple(
    module.router for module in (running, runs, costs, openai, agents, resources, sessions, related, tools, rag, health)
)
PROBLEM = "application/problem+json"


def _document() -> dict[str, Any]:
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    return finish(app.openapi())


DOCUMENT = _document()
OPERATIONS = {
    f"{method.upper()} {path}": said for path, methods in DOCUMENT["paths"].items() for method, said in methods.items()
}


def _contents(operation: str) -> list[tuple[str, str, dict[str, Any]]]:
    said = OPERATIONS[operation]
    parts = [("body", said.get("requestBody", {})), *said["responses"].items()]
    return [(where, kind, media) for where, part in parts for kind, media in part.get("content", {}).items()]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_json_has_an_example_that_fits_its_schema(operation: str) -> None:
    for where, kind, media in _contents(operation):
        if kind == "application/yaml" or operation == "GET /metrics":
            continue
        assert "example" in media, f"{operation} {where} {kind}"
        if kind != "text/event-stream":
            schema = {**media.get("schema", {}), "components": DOCUMENT["components"]}
            jsonschema_rs.validate(schema, media["example"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_error_is_a_problem_document_of_its_status(operation: str) -> None:
    for where, kind, media in _contents(operation):
        if where[0] in "45" and operation != "GET /v1/health/ready":
            assert kind == PROBLEM, f"{operation} {where}"
            assert media["example"]["status"] == int(where)


def test_keys_are_declared_and_probes_need_none() -> None:
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"bearer", "key"}
    assert {} in DOCUMENT["security"]
    assert OPERATIONS["GET /v1/health"]["security"] == []
    assert "security" not in OPERATIONS["GET /v1/runs"]
