"""`approvals`: what runs ask humans, and deciding it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.approval_replies import ApprovalReply, PendingReply
    from astromesh_gateway.replies import RunRecord
    from astromesh_gateway.routes.approvals import PendingPage

RunId = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN_ID")]
Step = Annotated[str, typer.Argument(help="The step that asks, such as 2.1; may be left out where only one does.")]
Comment = Annotated[str, typer.Option(help="Why; the model reads it where a call is denied.")]
_WIDTH = 60
_PAGE = 200


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "list")(list_pending)
    client_command(app, "approve")(approve)
    client_command(app, "deny")(deny)
    client_command(app, "answer")(answer)


def list_pending(
    call: Call,
    agent: Annotated[str, typer.Option(help="Of this agent.")] = "",
    session: Annotated[str, typer.Option(help="Of this session; needs --agent.")] = "",
    limit: Annotated[int, typer.Option(help="How many, of the newest runs first.", min=1)] = 50,
) -> None:
    """Lists tool calls that wait for approval, and questions that wait for an answer."""
    from astromesh_cli.client.terminal import local_time, print_json, shortened, table

    with call.connect() as mesh:
        found = _pending(mesh, {"agent": agent, "session": session}, limit)
    if call.as_json:
        print_json({"approvals": found})
        return
    rows = [
        [
            it["run_id"],
            it["path"],
            it["agent"],
            shortened(_asks(it), _WIDTH),
            local_time(it["requested_at"]),
            local_time(it.get("expires_at", "")) or "never",
        ]
        for it in found
    ]
    table(["RUN", "STEP", "AGENT", "ASKS", "SINCE", "EXPIRES"], rows)


def approve(
    call: Call,
    run_id: RunId,
    path: Step = "",
    comment: Comment = "",
    arguments: Annotated[str, typer.Option(help="JSON object: what the call is made with instead.")] = "",
) -> None:
    """Lets a tool be called as it was shown, or with other arguments."""
    body: dict[str, JsonValue] = {"decision": "approve", "comment": comment}
    if arguments:
        body["arguments"] = _parsed(arguments)
    _decide(call, run_id, path, body)


def deny(call: Call, run_id: RunId, path: Step = "", comment: Comment = "") -> None:
    """Keeps a tool from being called; of a question, says that nobody will answer. The run goes on with that."""
    _decide(call, run_id, path, {"decision": "deny", "comment": comment})


def answer(
    call: Call,
    run_id: RunId,
    text: Annotated[str, typer.Argument(help="The answer.")],
    path: Annotated[str, typer.Option("--step", help="The step that asks; needed where several do.")] = "",
) -> None:
    """Answers a question of a run."""
    _decide(call, run_id, path, {"answer": text})


def _decide(call: Call, run_id: str, path: str, body: dict[str, JsonValue]) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import out, print_json, status_text

    with call.connect() as mesh:
        before = cast("RunRecord", mesh.get(f"/v1/runs/{run_id}"))
        asked = _one(before, path)
        if asked is not None and "decision" in body:
            # What is decided is what stands there now, and nothing that comes instead of it.
            body = {**body, "sha256": asked["sha256"]}
        at = asked["path"] if asked is not None else path
        run = cast("RunRecord", mesh.post(f"/v1/approvals/{run_id}/{at or '-'}", body))
    if call.as_json:
        print_json(run)
        return
    if asked is not None:
        out().print(Text(f"{_decision(body)}  {asked['path']}  {_asks(asked)}"))
    out().print(Text(f"run {run['run_id']} ") + status_text(run["status"]))


def _decision(body: Mapping[str, JsonValue]) -> str:
    if "answer" in body:
        return "answered"
    if "arguments" in body:
        return "approved, with other arguments"
    return "approved" if body["decision"] == "approve" else "denied"


def _one(run: RunRecord, path: str) -> ApprovalReply | None:
    """What is asked at the path, or the only thing that is pending."""
    from astromesh_core.errors import InvalidInput

    found = run.get("approvals", [])
    if path:
        return next((it for it in reversed(found) if it["path"] == path), None)
    pending = [it for it in found if it["state"] == "pending"]
    if len(pending) > 1:
        raise InvalidInput(f"several steps ask: name one of {', '.join(it['path'] for it in pending)}")
    return pending[0] if pending else None


def _pending(mesh: MeshClient, wanted: dict[str, str | int | float], limit: int) -> list[PendingReply]:
    found, token = list["PendingReply"](), ""
    while len(found) < limit:
        query = {**{name: value for name, value in wanted.items() if value}, "page_size": _PAGE, "page_token": token}
        page = cast("PendingPage", mesh.get("/v1/approvals", query))
        found += page["approvals"]
        token = page["next_page_token"]
        if not token:
            break
    return found[:limit]


def _asks(asked: ApprovalReply) -> str:
    import orjson

    if "question" in asked:
        choices = f" ({' | '.join(asked['choices'])})" if "choices" in asked else ""
        return f"{asked['question']}{choices}"
    return f"{asked['tool']}{orjson.dumps(asked['arguments']).decode()}"


def _parsed(text: str) -> JsonValue:
    import orjson

    from astromesh_core.errors import InvalidInput

    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--arguments is not JSON: {error}") from None
    return value
