"""Checks of what is around a mesh: its folders, its ports or itself if it runs, and the model server."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httpx

from astromesh_cli.client.calls import Call
from astromesh_cli.client.failures import Refused, Unreachable
from astromesh_cli.client.mesh import KEY_VARIABLE
from astromesh_cli.diagnosis.findings import Finding
from astromesh_cli.ports import is_free
from astromesh_cli.validating import validate
from astromesh_core.errors import AstromeshError
from astromesh_core.resources.loading import load_folder
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.vendors import VENDORS
from astromesh_core.settings import Settings

if TYPE_CHECKING:
    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.routes.health import ReadyReply
    from astromesh_gateway.routes.resources import ResourceTable

_SECONDS = 3.0
_MEGABYTE = 1 << 20
_FREE_MEGABYTES = 500
_KINDS = ("agent", "provider", "ragpipeline", "channel")


def check_mesh(call: Call, settings: Settings) -> Iterator[Finding]:
    """The mesh if it answers, else whether its ports are free for one."""
    with call.connect() as mesh:
        try:
            status, document = mesh.status("/v1/health/ready")
        except Refused as error:
            yield Finding("mesh", "broken", f"{mesh.url}: {error.message}", "is it another server? choose --port")
            return
        except Unreachable:
            yield Finding("mesh", "note", f"nothing answers at {mesh.url}", "astromesh up")
            yield _ports(settings)
            return
        ready = cast("ReadyReply", document)
        failing = [f"{name}: {check['reason']}" for name, check in ready["checks"].items() if not check["ok"]]
        if status != 200:
            yield Finding("mesh", "broken", f"{mesh.url} is not ready: {'; '.join(failing)}", "see the mesh's log")
            return
        yield Finding("mesh", "fine", f"{mesh.url} is ready ({len(ready['checks'])} checks)")
        try:
            yield from _resources(mesh)
        except Refused as error:
            yield Finding("resources", "note", f"not looked at: {error.message}", f"set {KEY_VARIABLE}")


def _resources(mesh: MeshClient) -> Iterator[Finding]:
    """What the mesh serves, and each resource that is not Ready, with the reason."""
    served = 0
    for kind in _KINDS:
        for resource in cast("ResourceTable", mesh.get(f"/v1/resources/{kind}s"))["resources"]:
            if resource["ready"]:
                served += 1
                continue
            told = [condition["message"] for condition in resource["conditions"] if condition["type"] == "Ready"]
            found = f"{resource['name']} is not Ready: {told[0] if told else 'not looked at yet'}"
            yield Finding(kind, "note", found, f"astromesh describe {kind} {resource['name']}")
    yield Finding("resources", "fine", f"{served} are Ready")


def check_data(folder: Path) -> Finding:
    """The data folder: writable, private, room on its disk, and whether a mesh holds it."""
    name = "data folder"
    if not folder.exists():
        parent = next(each for each in folder.absolute().parents if each.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            mend = f"choose another with --data, or allow writing to {parent}"
            return Finding(name, "broken", f"{folder} cannot be made", mend)
        return Finding(name, "fine", f"{folder} will be made")
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(name, "broken", f"{folder} cannot be written to", f"chown it to you, or choose --data: {folder}")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return Finding(name, "note", f"{folder} is open to others of this machine", f"chmod 700 {folder}")
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize // _MEGABYTE
    if free < _FREE_MEGABYTES:
        return Finding(name, "broken", f"{free} MB are free where {folder} is", "make room: the log keeps every run")
    held = "held by a running mesh" if _is_locked(folder) else "free"
    return Finding(name, "fine", f"{folder}, {held}, {free / 1024:.1f} GB left on its disk")


def check_config(folder: Path) -> Iterator[Finding]:
    """The config folder: every problem, and what it asks for that is not built."""
    if not folder.is_dir():
        yield Finding("config", "broken", f"there is no folder {folder}", "choose one with --config")
        return
    findings = validate(folder)
    for problem in findings.problems:
        yield Finding("config", "broken", str(problem), f"then: astromesh validate {folder}")
    for gap in findings.gaps:
        yield Finding("config", "note", str(gap), "it will not be Ready; the others serve")
    if not findings.problems and not findings.gaps:
        yield Finding("config", "fine", f"{folder}: {findings.resources} resources, all valid")


def check_ollama(folder: Path) -> Iterator[Finding]:
    """Every Ollama that the providers name: whether it answers, and which declared models it lacks."""
    for provider, spec in _ollamas(folder):
        endpoint = spec.endpoint or VENDORS["ollama"].endpoint
        name = f"ollama ({provider})"
        try:
            reply = httpx.get(f"{endpoint.rstrip('/')}/api/tags", timeout=_SECONDS, trust_env=False)
            reply.raise_for_status()
            present = [str(model["name"]) for model in reply.json()["models"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            found = f"{endpoint} does not answer: agents that list a fallback use it (docs-agent: extractive, no model)"
            yield Finding(name, "note", found, "install Ollama (https://ollama.com), then: ollama serve")
            continue
        lacking = [offer.name for offer in spec.models if not _has(present, offer.name)]
        if lacking:
            yield Finding(name, "note", f"{endpoint} lacks {', '.join(lacking)}", f"ollama pull {lacking[0]}")
        else:
            yield Finding(name, "fine", f"{endpoint} has {', '.join(present) or 'no model'}")


def _ports(settings: Settings) -> Finding:
    taken = [port for port in (settings.port, settings.grpc_port) if port and not is_free(settings.host, port)]
    if taken:
        which = ", ".join(map(str, taken))
        return Finding("ports", "broken", f"{which} taken by another program", "astromesh up --port N --grpc-port M")
    return Finding("ports", "fine", f"{settings.port} (HTTP) and {settings.grpc_port} (gRPC) are free")


def _ollamas(folder: Path) -> list[tuple[str, ProviderSpec]]:
    if not folder.is_dir():
        return []
    try:
        resources = load_folder(folder).resources
    except AstromeshError:
        return []
    return [
        (resource.name, resource.spec)
        for resource in resources
        if isinstance(resource.spec, ProviderSpec) and resource.spec.type == "ollama"
    ]


def _has(present: Sequence[str], model: str) -> bool:
    return model in present or f"{model}:latest" in present


def _is_locked(folder: Path) -> bool:
    lock = folder / "nats" / "lock"
    if not lock.exists():
        return False
    with lock.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(held, fcntl.LOCK_UN)
    return False
