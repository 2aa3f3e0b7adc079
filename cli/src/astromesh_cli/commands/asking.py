"""`run` and `chat`: asking an agent, and seeing the answer as it comes."""

from __future__ import annotations

import secrets
import sys
from contextlib import closing, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import JsonValue

    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.mesh import MeshClient
    from astromesh_cli.client.streams import Event
    from astromesh_gateway.replies import RunReply

_CHAT_HELP = "/new starts another session, /exit or Ctrl-D leaves, Ctrl-C cancels the answer under way."


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "run")(run)
    client_command(app, "chat")(chat)


def run(
    call: Call,
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    session: Annotated[str, typer.Option(help="Continues a conversation of that name.")] = "",
    user: Annotated[str, typer.Option(help="Whom the content is about.")] = "",
    context: Annotated[str, typer.Option(help="Variables of the prompt, as a JSON object.")] = "",
    stream: Annotated[
        bool | None, typer.Option("--stream/--no-stream", help="As it comes; with --json, a line for each event.")
    ] = None,
) -> None:
    """Asks an agent one question. The answer goes to stdout, steps and sources to stderr; Ctrl-C cancels the run."""
    body = _body(sys.stdin.read() if question == "-" else question, session, user, context)
    with call.connect() as mesh:
        if call.as_json:
            _run_as_json(mesh, agent, body, lines=bool(stream))
        else:
            _run(mesh, agent, body, streams=stream is not False)


def chat(
    call: Call,
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    session: Annotated[str, typer.Option(help="Continues a conversation of that name.")] = "",
    user: Annotated[str, typer.Option(help="Whom the content is about.")] = "",
) -> None:
    """Talks with an agent; it remembers the session. /exit or Ctrl-D leaves, Ctrl-C cancels the answer under way."""
    from astromesh_cli.client.failures import Refused, problem_message
    from astromesh_cli.client.terminal import QUIET, tell, tell_error

    name = session or _new_session()
    with call.connect() as mesh:
        described = cast("dict[str, object]", mesh.get(f"/v1/agents/{agent}"))
        tell(f"{described['name']} · session {name}\n{_CHAT_HELP}", QUIET)
        while (line := _read_line()) is not None:
            if line in ("/exit", "/quit"):
                return
            if line == "/new":
                name = _new_session()
                tell(f"session {name}", QUIET)
            elif line.startswith("/"):
                tell(_CHAT_HELP, QUIET)
            elif line:
                try:
                    _turn(mesh, agent, _body(line, name, user, ""))
                except Refused as error:
                    # Said, and the conversation goes on.
                    tell_error(problem_message(error.document))


def _run(mesh: MeshClient, agent: str, body: dict[str, JsonValue], *, streams: bool) -> None:
    from astromesh_cli.client.answers import AnswerPrinter, print_footer, print_sources

    with closing(AnswerPrinter(streams=streams)) as printer:
        last = _stream(mesh, agent, body, printer.take)
    if last.name == "error":
        raise _failure(last)
    ended = cast("RunReply", last.data)
    if printer.text != ended["answer"] and ended["answer"] is not None:
        print(ended["answer"], flush=True)
    print_sources(ended["sources"])
    print_footer(ended)
    if ended["status"] != "completed":
        raise typer.Exit(Exit.LATER)


def _run_as_json(mesh: MeshClient, agent: str, body: dict[str, JsonValue], *, lines: bool) -> None:
    from astromesh_cli.client.failures import Failed, problem_message
    from astromesh_cli.client.terminal import print_json, print_json_line

    def write(event: Event) -> None:
        if lines:
            print_json_line({"event": event.name, "id": event.id or None, "data": event.data})

    last = _stream(mesh, agent, body, write)
    if last.name == "error":
        raise Failed(problem_message(last.data), None if lines else last.data)
    if not lines:
        print_json(last.data)
    if last.text("status") != "completed":
        raise typer.Exit(Exit.LATER)


def _turn(mesh: MeshClient, agent: str, body: dict[str, JsonValue]) -> None:
    from astromesh_cli.client.answers import AnswerPrinter, print_sources, tell_how_to_go_on, tell_what_it_lacks
    from astromesh_cli.client.terminal import QUIET, WARN, tell

    try:
        with closing(AnswerPrinter()) as printer:
            last = _stream(mesh, agent, body, printer.take)
    except KeyboardInterrupt:
        tell("cancelled; the conversation keeps what you saw", WARN)
        return
    if last.name == "error":
        from astromesh_cli.client.terminal import tell_error

        tell_error(_failure(last).message)
        return
    ended = cast("RunReply", last.data)
    if printer.text != ended["answer"] and ended["answer"] is not None:
        print(ended["answer"], flush=True)
    print_sources(ended["sources"])
    tell_what_it_lacks(ended)
    if ended.get("waiting_for"):
        tell_how_to_go_on(ended)
    tell("", QUIET)


def _stream(mesh: MeshClient, agent: str, body: dict[str, JsonValue], take: Callable[[Event], None]) -> Event:
    """Hands every event of the run to `take`; the last one. Ctrl-C cancels the run, then goes on up."""
    from astromesh_cli.client.streams import ENDS, asked
    from astromesh_core.errors import Bug

    run_id = ""
    try:
        with closing(asked(mesh, agent, body)) as events:
            for event in events:
                run_id = event.text("run_id") or run_id
                take(event)
                if event.name in ENDS:
                    return event
    except KeyboardInterrupt:
        _cancel(mesh, run_id)
        raise
    raise Bug(f"the events of run {run_id} ended without an end")


def _failure(last: Event) -> Failed:
    from astromesh_cli.client.failures import Failed, problem_message

    return Failed(problem_message(last.data))


def _cancel(mesh: MeshClient, run_id: str) -> None:
    from astromesh_cli.client.failures import Refused, Unreachable

    if run_id:
        # It may have ended meanwhile, or be gone with its mesh: then there is nothing left to cancel.
        with suppress(Refused, Unreachable):
            mesh.post(f"/v1/runs/{run_id}/cancel", {"reason": "interrupted at the terminal"})


def _body(query: str, session: str, user: str, context: str) -> dict[str, JsonValue]:
    body: dict[str, JsonValue] = {"query": query}
    if session:
        body["session_id"] = session
    if user:
        body["user"] = user
    if context:
        body["context"] = _variables(context)
    return body


def _variables(context: str) -> dict[str, JsonValue]:
    import orjson

    from astromesh_core.errors import InvalidInput

    try:
        value = cast("object", orjson.loads(context))
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--context is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput('--context must be a JSON object, such as \'{"customer": "Ada"}\'')
    return cast("dict[str, JsonValue]", value)


def _new_session() -> str:
    return f"chat-{secrets.token_hex(4)}"


def _read_line() -> str | None:
    """A line from whoever talks; None once they leave. Ctrl-C empties the line."""
    lively = sys.stdin.isatty()
    if lively:
        # Importing it is all: arrow keys and the history of this conversation. Not every Python has it.
        with suppress(ImportError):
            import_module("readline")
    while True:
        try:
            return input("> " if lively else "").strip()
        except EOFError:
            if lively:
                print()
            return None
        except KeyboardInterrupt:
            print()
