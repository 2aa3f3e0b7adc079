"""The story of `astromesh up --demo`: documents in, a question, the streamed answer, the run's events, and their proof.

Told over HTTP to the mesh of this process, as any client would.
"""

from __future__ import annotations

import time
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from rich.text import Text

from astromesh_cli.client.answers import AnswerPrinter, print_footer, print_sources
from astromesh_cli.client.failures import Failed, Unreachable, problem_message
from astromesh_cli.client.ingestion import ingested, print_ingested
from astromesh_cli.client.mesh import MeshClient, target_of
from astromesh_cli.client.proofs import print_replay, print_verdict
from astromesh_cli.client.streams import ENDS, Event, asked
from astromesh_cli.client.terminal import NAME, QUIET, TITLE, WARN, out
from astromesh_cli.client.timeline import print_timeline
from astromesh_cli.commands.runs import all_events

if TYPE_CHECKING:
    from astromesh_gateway.replies import RunRecord, RunReply
    from astromesh_gateway.routes.agents import AgentList, AgentReply
    from astromesh_gateway.routes.rag import PipelineList
    from astromesh_gateway.routes.runs import ReplayReply, VerifyReply

AGENT, PIPELINE = "docs-agent", "docs"
QUESTION = "How does replay work?"

_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1


def tell_story(url: str, *, once: bool) -> None:
    """Tells it from the beginning. Raises AstromeshError with the reason where a part of it does not come true."""
    with MeshClient(target_of(url)) as mesh:
        agent = _ready(mesh)
        out().print(Text.assemble(("Astromesh ", TITLE), version("astromesh"), (f"  {url}", QUIET)))
        _chapter(1, "It reads its own documentation")
        _ingest(mesh)
        _chapter(2, f"{AGENT} is asked")
        run = _ask(mesh)
        _say_who_answered(run, agent)
        events = all_events(mesh, run["run_id"])
        _chapter(3, f"What happened: {len(events)} events, each stored before the next one counted")
        print_timeline(cast("RunRecord", mesh.get(f"/v1/runs/{run['run_id']}")), events)
        _chapter(4, "Proof")
        _prove(mesh, run["run_id"])
        if not once:
            _say_what_next(url, run["run_id"])


def _ready(mesh: MeshClient) -> AgentReply:
    """The sample agent, once the mesh is ready and the agent was judged. Raises Failed."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        reason, agent = _state(mesh)
        if agent is not None:
            return agent
        if time.monotonic() > deadline:
            raise Failed(f"the mesh is not ready after {_READY_SECONDS:.0f} s: {reason}")
        time.sleep(_POLL_SECONDS)


def _state(mesh: MeshClient) -> tuple[str, AgentReply | None]:
    try:
        status, _ = mesh.status("/v1/health/ready")
        agents = cast("AgentList", mesh.get("/v1/agents"))["agents"] if status == 200 else []
    except Unreachable as error:
        return error.message, None
    agent = next((agent for agent in agents if agent["name"] == AGENT), None)
    if agent is None:
        return f"it has no agent {AGENT}: the demo tells of the config folder of the repository", None
    if agent["ready"] is False:
        said = [f"{item['type']}: {item['message']}" for item in agent["conditions"] if item["status"] == "False"]
        raise Failed(f"{AGENT} is not ready: {'; '.join(said)}")
    return f"{AGENT} is still being judged", agent if agent["ready"] else None


def _ingest(mesh: MeshClient) -> None:
    summary = ingested(mesh, PIPELINE, out())
    print_ingested(summary, out())
    if summary["refused"]:
        raise Failed(f"documents could not be read: {'; '.join(summary['refused'])}")
    pipelines = cast("PipelineList", mesh.get("/v1/rag/pipelines"))["pipelines"]
    held = next(pipeline for pipeline in pipelines if pipeline["name"] == PIPELINE)
    text = f"  {held['documents']} documents in {held['chunks']} passages, embedded here by {held['embedding_model']}"
    out().print(Text(text, QUIET))


def _ask(mesh: MeshClient) -> RunReply:
    out().print(Text.assemble(("> ", QUIET), (QUESTION, TITLE), "\n"))
    with closing(AnswerPrinter(says=out())) as printer:
        last = _streamed(mesh, printer)
    if last.name == "error":
        raise Failed(problem_message(last.data))
    run = cast("RunReply", last.data)
    if run["status"] != "completed" or not run["answer"]:
        raise Failed(f"run {run['run_id']} is {run['status']} and gave no answer")
    print_sources(run["sources"], out())
    print_footer(run, out())
    return run


def _streamed(mesh: MeshClient, printer: AnswerPrinter) -> Event:
    with closing(asked(mesh, AGENT, {"query": QUESTION})) as events:
        for event in events:
            printer.take(event)
            if event.name in ENDS:
                return event
    raise Failed("the run's events ended without an end")


def _say_who_answered(run: RunReply, agent: AgentReply) -> None:
    """Says so where no model wrote the answer."""
    models = [step["name"] for step in run["steps"] if step["kind"] == "model"]
    if not models or models[-1] != "extractive":
        return
    spec = cast("dict[str, dict[str, dict[str, str]]]", agent["spec"])
    wanted = spec["model"]["primary"].get("model") or "its model"
    out().print(
        Text(
            f"\nNo language model answers here, so the extractive provider quoted the nearest sentences.\n"
            f"For a written answer: ollama serve, and ollama pull {wanted}; {AGENT} asks it first.",
            WARN,
        )
    )


def _prove(mesh: MeshClient, run_id: str) -> None:
    replay = cast("ReplayReply", mesh.post(f"/v1/runs/{run_id}/replay"))
    print_replay(replay)
    verdict = cast("VerifyReply", mesh.post(f"/v1/runs/{run_id}/verify"))
    print_verdict(verdict)
    if not replay["identical"] or not verdict["ok"]:
        raise Failed(f"run {run_id} cannot be proved")


def _say_what_next(url: str, run_id: str) -> None:
    prefix = "" if url == "http://127.0.0.1:8000" else f"ASTROMESH_URL={url} "
    command = f"{prefix}.venv/bin/astromesh"
    out().print(Text("\nTry next, in another terminal", TITLE))
    for what, how in (
        ("talk with it", f"{command} chat {AGENT}"),
        ("see a run", f"{command} runs show {run_id}"),
        ("curl", f"curl -N {url}/v1/agents/{AGENT}/run -H 'Accept: text/event-stream' \\"),
        ("", '     -d \'{"query": "What happens when a worker dies?"}\''),
        ("any OpenAI client", f'OpenAI(base_url="{url}/v1", api_key="none").chat.completions.create('),
        ("", f'     model="{AGENT}", messages=[{{"role": "user", "content": "What is a session?"}}])'),
        ("the HTTP API", f"{url}/docs"),
    ):
        out().print(Text.assemble((f"  {what:<18} ", QUIET), (how, NAME)))
    out().print(Text(f"\nServing at {url}. Ctrl-C stops it.", TITLE))


def _chapter(number: int, title: str) -> None:
    out().print(Text.assemble((f"\n{number}  ", QUIET), (title, TITLE)))
