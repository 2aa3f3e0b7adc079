"""What a starting mesh is told: options, environment, then runtime.yaml, then defaults; and which services it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from astromesh_cli.ports import free_port
from astromesh_cli.serving.placement import SERVICES
from astromesh_core.errors import Denied, InvalidInput
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.rpc.addresses import is_loopback
from astromesh_core.settings import Settings, load_settings

_FILE = "runtime.yaml"


@dataclass(frozen=True)
class Chosen:
    """How the mesh starts."""

    settings: Settings
    services: tuple[str, ...]


@dataclass(frozen=True)
class _Declared:
    """The RuntimeConfig of the config folder; where none can be read, the defaults."""

    spec: RuntimeConfigSpec
    readable: bool


def chosen(given: Mapping[str, object]) -> Chosen:
    """Reads everything that has a say. A port of 0 is settled here, so that whoever asks is told the same one.

    Raises InvalidInput for a setting that cannot be, and where no service is left to start; Denied where other machines
    could reach the mesh and nobody has a key.
    """
    settings = load_settings(given)
    declared = _declared(settings)
    settings = settings.model_copy(update=_from_file(settings, declared.spec))
    services = tuple(name for name in SERVICES if getattr(declared.spec.services, name))
    if not services:
        raise InvalidInput(f"{settings.config_dir / _FILE} switches every service off")
    if "gateway" in services and not is_loopback(settings.host) and _has_no_keys(settings, declared):
        raise Denied(
            f"{settings.host} can be reached from other machines and no API key is configured: add spec.api_keys to "
            f"{settings.config_dir / _FILE}, or listen on 127.0.0.1"
        )
    settings = settings.model_copy(
        update={name: free_port(settings.host) for name in ("port", "grpc_port") if not getattr(settings, name)}
    )
    return Chosen(settings, services)


def _has_no_keys(settings: Settings, declared: _Declared) -> bool:
    """Whether it is certain before anything runs. Keys may also be stored: from an earlier runtime.yaml that was good,
    over the API, or by a mesh elsewhere. Then the gateway finds out."""
    stored = bool(settings.nats_url) or (settings.data_dir / "nats").exists()
    return not declared.spec.api_keys and (declared.readable or not stored)


def _declared(settings: Settings) -> _Declared:
    """What is wrong with the file the operator tells."""
    try:
        text = (settings.config_dir / _FILE).read_bytes()
    except OSError:
        text = b""
    specs = (resource.spec for resource in load_text(text, _FILE).resources)
    spec = next((spec for spec in specs if isinstance(spec, RuntimeConfigSpec)), None)
    return _Declared(spec or RuntimeConfigSpec(), readable=spec is not None)


def _from_file(settings: Settings, declared: RuntimeConfigSpec) -> dict[str, object]:
    otlp = declared.telemetry.otlp
    exported = otlp.endpoint if otlp is not None and otlp.enabled and declared.services.observability else None
    said: dict[str, object] = {
        "host": declared.api.host,
        "port": declared.api.port,
        "grpc_port": declared.api.grpc_port,
        "otlp_endpoint": exported,
        "record_content": declared.telemetry.record_content or None,
    }
    return {name: value for name, value in said.items() if value is not None and name not in settings.model_fields_set}
