"""`mcp`: agents as tools of a desktop client, over this process's standard streams."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astromesh_cli.client.exits import EPILOG

if TYPE_CHECKING:
    from astromesh_cli.client.mesh import Target


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("mcp", epilog=EPILOG)(mcp)


def mcp(
    url: Annotated[
        str, typer.Option(help="The mesh; else ASTROMESH_URL, else http://127.0.0.1:8000.", show_default=False)
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option(help="A config folder instead: the mesh that serves it, else one of its own, started with this."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --config: where that mesh keeps everything. [default: beside it]")
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="A namespace; an admin's key may choose.", show_default=False)
    ] = "",
) -> None:
    """Offers agents as tools to a desktop client that speaks MCP over stdin and stdout.

    Such a client starts this command itself: put it into the client's configuration (docs/mcp.md). A key comes from
    ASTROMESH_API_KEY.
    """
    from astromesh_cli.client.failures import reported
    from astromesh_cli.client.mesh import target_of
    from astromesh_core.errors import InvalidInput

    with reported():
        target = target_of(url, namespace)
        if config is None:
            if data is not None:
                raise InvalidInput("--data belongs to --config")
            _serve_running(target)
            return
        if url:
            raise InvalidInput("--url names a mesh that runs, --config the folder of one: leave one of them out")
        from astromesh_cli.mcp.own_mesh import mesh_of

        with mesh_of(config, data, target) as own:
            _serve(own)


def _serve_running(target: Target) -> None:
    from astromesh_cli.client.exits import Exit
    from astromesh_cli.client.failures import Failed, Unreachable

    try:
        _serve(target)
    except Unreachable as error:
        advice = "or name its config folder: astromesh mcp --config /path/to/config"
        raise Failed(f"{error.message}, {advice}", code=Exit.UNREACHABLE) from None


def _serve(target: Target) -> None:
    """Until the client closes its end. Raises Unreachable, and Refused where the mesh takes no key of ours or offers no
    MCP."""
    import asyncio

    from astromesh_cli.client.mesh import MeshClient
    from astromesh_cli.mcp.relay import PATH, relay
    from astromesh_cli.mcp.standard_streams import lines, write

    with MeshClient(target) as mesh:
        # Ends a session that is none: said before the client's first message, whatever refuses us is told in words.
        mesh.delete(PATH)
    asyncio.run(relay(target, lines(), write))
