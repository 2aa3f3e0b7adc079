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


Config = Annotated[Path | None, typer.Option(help="Folder of the resources. [default: config]", show_default=False)]
Data = Annotated[
    Path | None, typer.Option(help="Folder of everything that is kept. [default: .astromesh]", show_default=False)
]

_SERVING_EPILOG = (
    "Options override ASTROMESH_* variables, which override runtime.yaml. Exit codes: 0 stopped as told, "
    "2 wrong usage, 70 our bug, 75 something is away or taken: try again, 78 mend the configuration."
)


@app.command(epilog=_SERVING_EPILOG)
def up(  # noqa: PLR0913 - a command takes its options as parameters
    config: Config = None,
    data: Data = None,
    host: Annotated[str | None, typer.Option(help="Where HTTP and gRPC listen. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Of HTTP; 0 takes a free one. [default: 8000]")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Of gRPC; 0 takes a free one. [default: 8001]")] = None,
    processes: Annotated[bool, typer.Option("--processes", help="A process for each service.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Ask the sample agent, and show what became of it.")] = False,
    once: Annotated[bool, typer.Option("--once", help="With --demo: exit after it, 0 or 1.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Starts the mesh. Ready when GET /v1/health/ready answers 200; SIGTERM and Ctrl-C drain it."""
    from astromesh_core.unwanted import refuse_unwanted

    refuse_unwanted()
    from astromesh_cli.client.failures import reported
    from astromesh_cli.serving.chosen import chosen
    from astromesh_core.errors import InvalidInput

    if with_parent:
        from astromesh_cli.serving.children import end_with_parent

        end_with_parent()
    options = {"config_dir": config, "data_dir": data, "host": host, "port": port, "grpc_port": grpc_port}
    given = {name: value for name, value in options.items() if value is not None}
    with reported():
        if once and not demo:
            raise InvalidInput("--once belongs to --demo")
        if demo and processes:
            raise InvalidInput("--demo tells its story in one process: leave --processes out")
        if demo:
            from astromesh_cli.serving.story import demo_options

            given = demo_options(given)
        how = chosen(given)
    if processes:
        from astromesh_cli.serving.processes import run_processes

        raise typer.Exit(run_processes(how))
    from astromesh_cli.serving.up import run_mesh

    if demo:
        from astromesh_cli.serving.story import story_beside

        raise typer.Exit(run_mesh(how, story_beside(how.settings, once=once)))
    raise typer.Exit(run_mesh(how))


@app.command(epilog=_SERVING_EPILOG)
def serve(
    services: Annotated[list[str], typer.Argument(metavar="SERVICE...", help="Which, such as: router tools.")],
    config: Config = None,
    data: Data = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Where the process serves its own metrics; 0 nowhere. [default: 0]")
    ] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Runs some services as one process, with gRPC to the others of the mesh.

    They find each other by sockets in the data folder, else by ASTROMESH_PEERS and ASTROMESH_RPC_ADDRESS, and the bus
    by ASTROMESH_NATS_URL and ASTROMESH_NATS_CREDENTIALS.
    """
    from astromesh_core.unwanted import refuse_unwanted

    refuse_unwanted()
    from astromesh_cli.client.failures import reported
    from astromesh_cli.serving.placement import checked
    from astromesh_cli.serving.up import serve_services
    from astromesh_core.settings import load_settings

    if with_parent:
        from astromesh_cli.serving.children import end_with_parent

        end_with_parent()
    options = {"config_dir": config, "data_dir": data, "metrics_port": metrics_port}
    given = {name: value for name, value in options.items() if value is not None}
    with reported():
        names, settings = checked(services), load_settings(given)
    raise typer.Exit(serve_services(names, settings))


register(app)
