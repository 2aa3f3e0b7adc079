"""/v1/health, /v1/health/ready and /metrics: open to probes and scrapers, which have no key. HEAD answers as GET does;
the server leaves the body out."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Response
from typing_extensions import TypedDict

from astromesh_gateway.access import TheGateway

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])
"""Apart, for a mesh may be told to keep its metrics to itself."""


class HealthReply(TypedDict):
    """The process answers."""

    status: str
    version: str


class CheckReply(TypedDict):
    """One dependency."""

    ok: bool
    reason: str


class ReadyReply(TypedDict):
    """Whether runs are served, and what of each dependency."""

    ready: bool
    checks: dict[str, CheckReply]


@router.head("/v1/health", include_in_schema=False)
@router.get("/v1/health", summary="Liveness")
async def health() -> HealthReply:
    """Answers as long as the process does."""
    return HealthReply(status="ok", version=version("astromesh-gateway"))


@router.head("/v1/health/ready", include_in_schema=False)
@router.get(
    "/v1/health/ready",
    summary="Readiness",
    responses={503: {"model": ReadyReply, "description": "Not ready; each check says why."}},
)
async def ready(response: Response, gateway: TheGateway) -> ReadyReply:
    """200 where runs are served, else 503; a check for each dependency."""
    report = await gateway.readiness.report()
    response.status_code = 200 if report.ok else 503
    checks = {name: CheckReply(ok=state.ok, reason=state.reason) for name, state in report.checks.items()}
    return ReadyReply(ready=report.ok, checks=checks)


@metrics_router.head("/metrics", include_in_schema=False)
@metrics_router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(gateway: TheGateway) -> Response:
    """The text exposition format. With a process for each service, of all that run on this machine."""
    page, content_type = await gateway.metrics.exposition()
    return Response(page, headers={"Content-Type": content_type})
