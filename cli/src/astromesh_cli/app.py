"""The command's tree. A command imports what it needs when it runs, so that every command starts fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astromesh_cli.commands.tree import register

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def astromesh() -> None:
    """Runs AI agents that are declared in YAML, from a log that survives every crash."""


@app.command()
def up(
    config: Annotated[Path | None, typer.Option(help="Folder of the resources.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of everything that is kept.")] = None,
    host: Annotated[str | None, typer.Option(help="Where HTTP and gRPC listen.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of HTTP.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of gRPC.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Ask the sample agent, and show what became of it.")] = False,
    once: Annotated[bool, typer.Option("--once", help="With --demo: exit after it, 0 or 1.")] = False,
) -> None:
    """Starts the mesh."""
    from astromesh_core.unwanted import refuse_unwanted

    refuse_unwanted()
    from astromesh_cli.serving.up import run_mesh
    from astromesh_core.settings import load_settings

    options = {"config_dir": config, "data_dir": data, "host": host, "port": port, "grpc_port": grpc_port}
    given = {name: value for name, value in options.items() if value is not None}
    if demo:
        from astromesh_cli.serving.story import demo_settings, story_beside

        settings = demo_settings(given)
        raise typer.Exit(run_mesh(settings, story_beside(settings, once=once)))
    raise typer.Exit(run_mesh(load_settings(given)))


register(app)
