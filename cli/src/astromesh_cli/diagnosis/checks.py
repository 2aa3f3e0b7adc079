"""Everything that `astromesh doctor` looks at, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from astromesh_cli.client.calls import Call
from astromesh_cli.diagnosis.findings import Finding


def diagnose(call: Call, config: Path | None, data: Path | None) -> Iterator[Finding]:
    """Every finding; what cannot even be imported is a finding of its own."""
    from astromesh_cli.diagnosis.installed import check_installed
    from astromesh_core.errors import InvalidInput
    from astromesh_core.settings import load_settings

    yield from check_installed()
    given = {name: value for name, value in (("config_dir", config), ("data_dir", data)) if value is not None}
    try:
        settings = load_settings(given)
    except InvalidInput as error:
        yield Finding("settings", "broken", error.message, "correct or unset the variable")
        return
    from astromesh_cli.diagnosis.surroundings import check_config, check_data, check_mesh, check_ollama

    yield from check_config(settings.config_dir)
    yield check_data(settings.data_dir)
    yield from check_mesh(call, settings)
    yield from check_ollama(settings.config_dir)
