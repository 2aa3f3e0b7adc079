"""`memory`: what sessions and persons left with agents: listed, shown, exported, forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import quote

import typer

from astromesh_cli.client.calls import Call, client_command

if TYPE_CHECKING:
    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.memory.transcripts import SessionReply, TurnReply
    from astromesh_gateway.routes.sessions import ForgottenReply, HistoryReply, SessionsReply

Agent = Annotated[str, typer.Argument(help="The agent's name.")]
Session = Annotated[str, typer.Argument(help="The session, as runs name it.")]
User = Annotated[str, typer.Argument(help="The person, as runs name the user.")]

_PAGE = 200
_LONGEST_RESULT = 300


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "sessions")(sessions)
    client_command(app, "show")(show)
    client_command(app, "export")(export)
    client_command(app, "clear")(clear)
    client_command(app, "export-user")(export_user)
    client_command(app, "forget-user")(forget_user)


def sessions(
    call: Call, agent: Agent, limit: Annotated[int, typer.Option(min=1, help="How many, the last used first.")] = 50
) -> None:
    """Lists the sessions of which an agent remembers something."""
    from astromesh_cli.client.terminal import print_json, table

    with call.connect() as mesh:
        found = _sessions(mesh, agent, limit)
    if call.as_json:
        print_json({"agent": agent, "sessions": found})
        return
    rows = [[it["session_id"] or "-", str(it["turns"]), it["first_used"], it["last_used"]] for it in found]
    table(["SESSION", "TURNS", "FIRST USED", "LAST USED"], rows)


def show(call: Call, agent: Agent, session: Session) -> None:
    """Shows what a session remembers, oldest first."""
    from astromesh_cli.client.terminal import print_json, tell

    with call.connect() as mesh:
        history = list(_history(mesh, agent, session))
    if call.as_json:
        print_json({"agent": agent, "session_id": session, "history": history})
        return
    for turn in history:
        _print_turn(turn)
    if not history:
        tell(f"agent {agent} remembers nothing of session {session}")


def export(call: Call, agent: Agent, session: Session) -> None:
    """Writes all that is remembered of a session as JSON: its history, its summary, and what was made of it."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        print_json(mesh.get(f"/v1/memory/{quote(agent, safe='')}/sessions/{quote(session, safe='')}/export"))


def clear(call: Call, agent: Agent, session: Session) -> None:
    """Forgets a session, once its runs at work have ended."""
    from astromesh_cli.client.terminal import print_json, tell

    with call.connect() as mesh:
        mesh.delete(f"/v1/memory/{quote(agent, safe='')}/history/{quote(session, safe='')}")
    if call.as_json:
        print_json({"agent": agent, "session_id": session, "forgotten": True})
        return
    tell(f"agent {agent} has forgotten session {session}")


def export_user(call: Call, user: User) -> None:
    """Writes all that agents remember of a person as JSON."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        print_json(mesh.get(f"/v1/memory/users/{quote(user, safe='')}/export"))


def forget_user(call: Call, user: User) -> None:
    """Forgets a person in every session of every agent of the namespace, once the runs at work there have ended."""
    from astromesh_cli.client.terminal import print_json, tell

    with call.connect() as mesh:
        forgotten = cast("ForgottenReply", mesh.delete(f"/v1/memory/users/{quote(user, safe='')}"))
    if call.as_json:
        print_json(forgotten)
        return
    tell(f"{user} is forgotten in {forgotten['sessions']:,} sessions")


def _sessions(mesh: MeshClient, agent: str, limit: int) -> list[SessionReply]:
    found, token = list["SessionReply"](), ""
    while len(found) < limit:
        asked: dict[str, str | int] = {"limit": min(_PAGE, limit - len(found)), "page_token": token}
        page = cast("SessionsReply", mesh.get(f"/v1/memory/{quote(agent, safe='')}/sessions", asked))
        found += page["sessions"]
        token = page["next_page_token"]
        if not token:
            break
    return found


def _history(mesh: MeshClient, agent: str, session: str) -> Iterator[TurnReply]:
    token = ""
    while True:
        path = f"/v1/memory/{quote(agent, safe='')}/history/{quote(session, safe='')}"
        page = cast("HistoryReply", mesh.get(path, {"limit": _PAGE, "page_token": token}))
        yield from page["history"]
        token = page["next_page_token"]
        if not token:
            return


def _print_turn(turn: TurnReply) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, TITLE, out, shortened

    role, content = turn["role"], turn["content"]
    if role == "user":
        out().print(Text.assemble(("\n" + turn["time"], QUIET), "  run ", (turn["run_id"], NAME)))
    if role == "tool":
        role, content = f"{turn.get('name', 'tool')} answered", shortened(content, _LONGEST_RESULT)
    if content:
        out().print(Text.assemble((f"{role}: ", TITLE), content))
    for called in turn.get("tool_calls", []):
        out().print(Text.assemble(("assistant calls ", QUIET), (called["name"], NAME), " ", called["arguments"]))
