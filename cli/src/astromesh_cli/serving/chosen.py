"""What a starting mesh is told: options, environment, then runtime.yaml, then defaults; and which services it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from astromesh_cli.ports import free_port
from astromesh_cli.serving.placement import SERVICES
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.settings import Settings, load_settings

_FILE = "runtime.yaml"


@dataclass(frozen=True)
class Chosen:
    """How the mesh starts."""

    settings: Settings
    services: tuple[str, ...]


def chosen(given: Mapping[str, object]) -> Chosen:
    """Reads everything that has a say. A port of 0 is settled here, so that whoever asks is told the same one.

    Raises InvalidInput for a setting that cannot be, and where no service is left to start.
    """
    settings = load_settings(given)
    declared = _declared(settings)
    settings = settings.model_copy(update=_from_file(settings, declared))
    settings = settings.model_copy(
        update={name: free_port(settings.host) for name in ("port", "grpc_port") if not getattr(settings, name)}
    )
    services = tuple(name for name in SERVICES if getattr(declared.services, name))
    if not services:
        raise InvalidInput(f"{settings.config_dir / _FILE} switches every service off")
    return Chosen(settings, services)


def _declared(settings: Settings) -> RuntimeConfigSpec:
    """The RuntimeConfig of the config folder. What is wrong with it the operator tells; until it is mended, defaults
    hold."""
    try:
        text = (settings.config_dir / _FILE).read_bytes()
    except OSError:
        return RuntimeConfigSpec()
    specs = (resource.spec for resource in load_text(text, _FILE).resources)
    return next((spec for spec in specs if isinstance(spec, RuntimeConfigSpec)), RuntimeConfigSpec())


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
