"""`memory`: what agents remember beside their conversations, and making it again from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import quote

import typer

from astromesh_cli.client.calls import Call, client_command

if TYPE_CHECKING:
    from astromesh_gateway.memory.replies import EpisodeReply, MemoryReply
    from astromesh_gateway.routes.related import EpisodesReply, RebuiltReply, SemanticReply

Agent = Annotated[str, typer.Argument(help="The agent's name.")]

_REBUILD_SECONDS = 620.0


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "search")(search)
    client_command(app, "rebuild")(rebuild)


def search(
    call: Call,
    agent: Agent,
    query: Annotated[str, typer.Argument(help="The question.")],
    user: Annotated[str, typer.Option(help="Whose memories, as runs name the user.")] = "",
    session: Annotated[str, typer.Option(help="Of which session.")] = "",
) -> None:
    """Shows what a run with this question would be told of earlier ones."""
    from astromesh_cli.client.terminal import print_json, tell

    asked: dict[str, str | int | float] = {"query": query, "user": user, "session_id": session}
    path = f"/v1/memory/{quote(agent, safe='')}"
    with call.connect() as mesh:
        said = cast("SemanticReply", mesh.get(f"{path}/semantic", asked))["results"]
        happened = cast("EpisodesReply", mesh.get(f"{path}/episodes", asked))["episodes"]
    if call.as_json:
        print_json({"agent": agent, "query": query, "memories": said, "episodes": happened})
        return
    for memory in said:
        _print_memory(memory)
    for episode in happened:
        _print_episode(episode)
    if not said and not happened:
        tell(f"agent {agent} would be told nothing; memories are the user's or the session's: name it")


def rebuild(call: Call, agent: Agent) -> None:
    """Drops what an agent remembers and makes it again from the log; what was forgotten stays forgotten."""
    from astromesh_cli.client.terminal import print_json, tell

    with call.connect() as mesh:
        path = f"/v1/memory/{quote(agent, safe='')}/rebuild"
        rebuilt = cast("RebuiltReply", mesh.post(path, seconds=_REBUILD_SECONDS))
    if call.as_json:
        print_json(rebuilt)
        return
    told = f"{rebuilt['turns']:,} turns, {rebuilt['semantic']:,} runs by what was said, {rebuilt['episodic']:,} by what"
    tell(f"agent {agent} remembers {told} happened")


def _print_memory(memory: MemoryReply) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, TITLE, out

    head = Text.assemble(("said in run ", QUIET), (memory["run_id"], NAME), (f"  {memory['score']:.3f}", TITLE))
    out().print(head)
    out().print(Text("   " + memory["text"].replace("\n", "\n   ") + "\n"))


def _print_episode(episode: EpisodeReply) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, TITLE, out, status_text

    head = Text.assemble(("run ", QUIET), (episode["run_id"], NAME), " ", status_text(episode["status"]))
    out().print(head + Text(f"  {episode['ended_at']}  {episode['score']:.3f}", TITLE))
    tools = ", ".join(tool["name"] + f" ×{tool['calls']}" for tool in episode["tools"])
    lines = [episode["goal"], f"→ {episode['outcome']}", *([f"tools: {tools}"] if tools else [])]
    lines += [f"rated {said['rating']:+d} {said['comment']}".rstrip() for said in episode["feedback"]]
    out().print(Text("   " + "\n   ".join(lines) + "\n"))
