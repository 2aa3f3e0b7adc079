"""Finishes the OpenAPI document that FastAPI makes of the routes: examples, problem documents, keys."""

from __future__ import annotations

from collections.abc import Iterator

from astromesh_core.errors import ERRORS
from astromesh_core.problems import MEDIA_TYPE, http_status, problem
from astromesh_gateway.documentation import Extra, components, errors
from astromesh_gateway.examples import ANSWERS, BODIES, NOT_READY

_JSON = "application/json"
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
_OPEN = ("/v1/health", "/v1/health/ready", "/metrics")
"""Asked by machines that hold no key."""


def finish(document: Extra) -> Extra:
    """The document with everything that the routes' types do not say. Changes it in place."""
    schemas: Extra = document["components"]["schemas"]
    for name in _FRAMEWORKS_OWN:
        schemas.pop(name, None)
    for name, schema in components().items():
        schemas.setdefault(name, schema)
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key of the mesh."},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    # None of them too: where no key is configured, this machine needs none.
    document["security"] = [{"bearer": []}, {"key": []}, {}]
    for path, operation, said in _operations(document):
        if path in _OPEN:
            said["security"] = []
        _requests(operation, said)
        _answers(operation, said)
    return document


def _operations(document: Extra) -> Iterator[tuple[str, str, Extra]]:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            yield path, f"{method.upper()} {path}", said


def _requests(operation: str, said: Extra) -> None:
    content: Extra = said.get("requestBody", {}).get("content", {})
    if operation in BODIES:
        content[_JSON].setdefault("example", BODIES[operation])


def _answers(operation: str, said: Extra) -> None:
    answers: Extra = said["responses"]
    # FastAPI says it of every route with a parameter, in a shape that ours never has.
    if _JSON in answers.get("422", {}).get("content", {}):
        answers["422"] = errors(422)[422]
    for status, answer in answers.items():
        content: Extra = answer.setdefault("content", {}) if status != "204" else {}
        if status.startswith("2") and operation in ANSWERS and _JSON in content:
            content[_JSON].setdefault("example", ANSWERS[operation])
        elif MEDIA_TYPE in content:
            answers[status] = {**answer, "content": {MEDIA_TYPE: {**content[MEDIA_TYPE], "example": _example(status)}}}
        elif status == "503" and _JSON in content:
            content[_JSON].setdefault("example", NOT_READY)


def _example(status: str) -> Extra:
    """The problem document of the first error that has the status."""
    kind = next((kind for kind in ERRORS.values() if http_status(kind("")) == int(status)), None)
    told = errors(int(status))[int(status)]["description"]
    if kind is None:
        kind = ERRORS["denied"] if status == "401" else ERRORS["invalid-input"]
    return {**problem(kind(told)), "status": int(status)}
