"""A client command: a function of a call, registered with the options that all of them have (--url, -n, --json)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec, cast

import typer

from astromesh_cli.client.exits import EPILOG

if TYPE_CHECKING:
    from astromesh_cli.client.mesh import MeshClient

P = ParamSpec("P")

_URL = typer.Option("--url", help="The mesh; else ASTROMESH_URL, else http://127.0.0.1:8000.", show_default=False)
_NAMESPACE = typer.Option("--namespace", "-n", help="A namespace; an admin's key may choose.", show_default=False)
_JSON = typer.Option("--json", help="JSON on stdout, for scripts.")
_SHARED = (
    ("url", Annotated[str, _URL], ""),
    ("namespace", Annotated[str, _NAMESPACE], ""),
    ("as_json", Annotated[bool, _JSON], False),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a command: which mesh is asked, and for whom the answer is written."""

    url: str
    namespace: str
    as_json: bool

    def connect(self) -> MeshClient:
        """A client of the mesh; the caller closes it."""
        from astromesh_cli.client.mesh import MeshClient, target_of

        return MeshClient(target_of(self.url, self.namespace))


def client_command(app: typer.Typer, name: str) -> Callable[[Callable[Concatenate[Call, P], None]], None]:
    """Registers a function as a command: its first parameter is the call, the others are its options and arguments."""

    def register(function: Callable[Concatenate[Call, P], None]) -> None:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, annotation, default in _SHARED
        ]

        def command(*args: P.args, **kwargs: P.kwargs) -> None:
            from astromesh_cli.client.failures import reported

            call = Call(
                cast("str", kwargs.pop("url")), cast("str", kwargs.pop("namespace")), bool(kwargs.pop("as_json"))
            )
            with reported(as_json=call.as_json):
                function(call, *args, **kwargs)

        named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        command.__signature__ = inspect.Signature([*named, *shared])  # pyright: ignore[reportFunctionMemberAccess] - typer reads it
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*named, *shared)}
        command.__doc__ = function.__doc__
        app.command(name, epilog=EPILOG)(command)

    return register
