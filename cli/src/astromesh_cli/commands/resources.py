"""`get`, `describe`, `apply` and `delete`: the resources of a mesh. Checking files by themselves: `validating`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from astromesh_cli.client.calls import Call, client_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import JsonValue
    from rich.text import Text

    from astromesh_cli.client.mesh import MeshClient
    from astromesh_core.resources.resource import Resource
    from astromesh_gateway.routes.rag import PipelineList
    from astromesh_gateway.routes.resources import ResourceReply, ResourceTable

Kind = Annotated[
    str,
    typer.Argument(
        help="agents, providers, channels, ragpipelines, guardrailpolicies or runtimeconfigs; ag is agents."
    ),
]
_STATE_COLUMNS = frozenset(("READY", "HEALTHY", "CONNECTED"))


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "get")(get)
    client_command(app, "describe")(describe)
    client_command(app, "apply")(apply)
    client_command(app, "delete")(delete)


def get(
    call: Call,
    kind: Kind,
    name: Annotated[str, typer.Argument(help="One of them; all without it.", show_default=False)] = "",
    output: Annotated[
        Literal["table", "json", "yaml"], typer.Option("--output", "-o", help="yaml can be applied again.")
    ] = "table",
) -> None:
    """Lists resources as a table."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        table = cast("ResourceTable", mesh.get(f"/v1/resources/{kind}"))
        if name:
            # Asked by name, so that a missing one is said to be missing.
            table["resources"] = [cast("ResourceReply", mesh.get(f"/v1/resources/{kind}/{name}"))]
    if output == "yaml":
        # What was never good has nothing that could be applied again.
        print(_yaml([resource for resource in table["resources"] if _ever_good(resource)]), end="")
    elif call.as_json or output == "json":
        print_json(table["resources"][0] if name else table)
    else:
        _print_table(table)


def describe(call: Call, kind: Kind, name: Annotated[str, typer.Argument(help="The resource's name.")]) -> None:
    """Shows a resource: what is declared, what is observed of it, and what of it was refused."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        resource = cast("ResourceReply", mesh.get(f"/v1/resources/{kind}/{name}"))
        held = _held(mesh, resource) if not call.as_json else []
    if call.as_json:
        print_json(resource)
    else:
        _print_description(resource, held)


def apply(
    call: Call,
    file: Annotated[str, typer.Option("--file", "-f", help="A YAML file, a config folder, or - for stdin.")],
) -> None:
    """Creates or replaces the resources of a file. Nothing is sent unless all of it is valid."""
    from astromesh_cli.client.terminal import GOOD, QUIET, print_json, tell

    resources = _read(file)
    applied: list[ResourceReply] = []
    with call.connect() as mesh:
        for resource in resources:
            created, reply = _apply(mesh, resource)
            applied.append(reply)
            if not call.as_json:
                tell(f"{resource.key} {'created' if created else 'replaced'} (generation {reply['generation']})", GOOD)
    if call.as_json:
        print_json({"applied": applied})
    elif applied:
        tell("see them with: astromesh get agents", QUIET)


def delete(call: Call, kind: Kind, name: Annotated[str, typer.Argument(help="The resource's name.")]) -> None:
    """Deletes a resource that was made over the API. Runs that have started keep what they started with."""
    from astromesh_cli.client.terminal import print_json, tell

    with call.connect() as mesh:
        mesh.delete(f"/v1/resources/{kind}/{name}")
    if call.as_json:
        print_json({"deleted": name})
    else:
        tell(f"{kind} {name} deleted")


def _apply(mesh: MeshClient, resource: Resource) -> tuple[bool, ResourceReply]:
    document = resource.to_document()
    status, reply = mesh.put(f"/v1/resources/{resource.kind}/{resource.name}", document)
    return status == 201, cast("ResourceReply", reply)


def _read(file: str) -> list[Resource]:
    """The resources of a file, a folder or stdin. Raises Failed, naming every problem."""
    import sys

    from astromesh_cli.client.failures import Failed
    from astromesh_cli.validating import read_path
    from astromesh_core.resources.loading import load_text

    loaded = load_text(sys.stdin.buffer.read(), "stdin", managed_by="api") if file == "-" else read_path(Path(file))
    if loaded.problems:
        problems = [str(problem) for problem in loaded.problems]
        raise Failed("nothing was applied:\n  " + "\n  ".join(problems), {"problems": list[str](problems)})
    if not loaded.resources:
        raise Failed(f"{file} holds no resource")
    return list(loaded.resources)


def _print_table(table: ResourceTable) -> None:
    from astromesh_cli.client import terminal

    if table["resources"]:
        states = [index for index, column in enumerate(table["columns"]) if column in _STATE_COLUMNS]
        rows = [
            [_state(cell) if index in states else cell for index, cell in enumerate(resource["cells"])]
            for resource in table["resources"]
        ]
        terminal.table(table["columns"], rows)
    else:
        terminal.tell(f"no {table['kind']} here", terminal.QUIET)
    for resource in table["resources"]:
        for line in _wrong(resource):
            terminal.tell(f"{resource['name']}: {line}", terminal.WARN)
    for line in table.get("refused_files", ()):
        terminal.tell(f"refused: {line}", terminal.WARN)


def _held(mesh: MeshClient, resource: ResourceReply) -> list[tuple[str, str]]:
    """What a pipeline holds, and when it takes its sources in; of other kinds there is nothing to say."""
    if resource["kind"] != "RAGPipeline":
        return []
    pipelines = cast("PipelineList", mesh.get("/v1/rag/pipelines"))["pipelines"]
    return [
        line
        for one in pipelines
        if one["name"] == resource["name"]
        for line in (
            ("documents", f"{one['documents']:,}"),
            ("chunks", f"{one['chunks']:,}"),
            ("ingested", one["last_ingested"] or "never"),
            ("next", one["next_ingestion"] or "not scheduled"),
        )
    ]


def _print_description(resource: ResourceReply, held: Iterable[tuple[str, str]] = ()) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, TITLE, WARN, out, table

    head = Text.assemble((resource["kind"], QUIET), " ", (f"{resource['namespace']}/{resource['name']}", NAME))
    out().print(head)
    for name, value in (
        ("version", resource["version"] or "—"),
        ("managed by", f"{resource['managed_by']} {resource.get('origin', '')}"),
        ("generation", str(resource["generation"] or "—")),
        ("sha256", resource["sha256"] or "—"),
        ("changed", resource["changed_at"]),
        *held,
    ):
        out().print(Text.assemble((f"  {name:<12}", QUIET), value.rstrip()))
    out().print(Text("\nConditions", TITLE))
    conditions = [
        [item["type"], _state(item["status"]), item["reason"], item["message"]] for item in resource["conditions"]
    ]
    if conditions:
        table(["  TYPE", "STATUS", "REASON", "MESSAGE"], [["  " + str(row[0]), *row[1:]] for row in conditions])
    else:
        out().print(Text("  none observed yet", QUIET))
    if refused := _refused(resource):
        why = "the version above keeps serving" if _ever_good(resource) else "no version of it was ever good"
        out().print(Text("\n  ".join((f"\nRefused edit ({why})", *refused)), WARN))
    if _ever_good(resource):
        out().print(Text("\nSpec", TITLE))
        out().print(Text("  " + _dump(resource["spec"]).rstrip().replace("\n", "\n  ")))


def _ever_good(resource: ResourceReply) -> bool:
    return resource["generation"] > 0


def _refused(resource: ResourceReply) -> list[str]:
    return resource.get("refused_edit", "").splitlines()


def _wrong(resource: ResourceReply) -> list[str]:
    """What keeps a resource from being ready, and an edit that was refused."""
    if not _ever_good(resource):
        return [f"refused: {line}" for line in _refused(resource)]
    false = [item for item in resource["conditions"] if item["status"] == "False" and item["message"]]
    # Ready sums up the others.
    failing = [item for item in false if item["type"] != "Ready"] or false
    lines = [f"{item['type']} {item['reason']}: {item['message']}" for item in failing if resource["ready"] is False]
    lines += [f"an edit was refused: {line}" for line in _refused(resource)]
    return list(dict.fromkeys(lines))


def _state(word: str) -> Text:
    from rich.text import Text

    from astromesh_cli.client.terminal import BAD, GOOD, WARN

    return Text(word, {"true": GOOD, "True": GOOD, "false": BAD, "False": BAD}.get(word, WARN))


def _yaml(resources: list[ResourceReply]) -> str:
    documents = [
        {
            "apiVersion": "astromesh/v1",
            "kind": resource["kind"],
            "metadata": {"name": resource["name"], "namespace": resource["namespace"]}
            | ({"version": resource["version"]} if resource["version"] else {}),
            "spec": resource["spec"],
        }
        for resource in resources
    ]
    return "---\n".join(_dump(cast("dict[str, JsonValue]", document)) for document in documents)


def _dump(document: dict[str, JsonValue]) -> str:
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
