"""Deciding what runs ask humans: what is pending is found in history, what is decided goes to the run's owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from astromesh.v1.runs_pb2 import (
    APPROVAL_KIND_QUESTION,
    APPROVAL_STATE_ANSWERED,
    APPROVAL_STATE_APPROVED,
    APPROVAL_STATE_DENIED,
    APPROVAL_STATE_PENDING,
    Approval,
    Run,
    RunFilter,
)
from astromesh.v1.signal_pb2 import AnswerSignal, DecideSignal, Signal
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.call_arguments import read_arguments
from astromesh_core.errors import Conflict, InvalidInput, NotFound
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.human_steps import asked
from astromesh_core.events.identity import session_key
from astromesh_core.resources.tool_approval import NEVER, ApprovalRule
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.approval_replies import STATES
from astromesh_gateway.auth import Role, require
from astromesh_gateway.following import CheckedFolder
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.stored_runs import EFFECT_SECONDS, StoredRuns
from astromesh_gateway.waiting import WAITING

MAX_COMMENT_CHARACTERS = 4_000
MAX_ANSWER_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Decision:
    """Of a tool call: whether it may be made, and with which arguments (JSON text; empty: its own)."""

    approved: bool
    comment: str = ""
    edited_arguments: str = ""
    effect_sha256: bytes = b""
    """Of the call that was shown; empty where whoever decides does not say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To a question; declined: nobody will answer, and the text says why."""

    text: str
    declined: bool = False


def require_approver(caller: Caller, declared: Mapping[str, JsonValue], arguments: Mapping[str, JsonValue]) -> None:
    """Lets those through who could approve this call of a tool: calling it by hand decides it too. `declared` is what
    the agent's file says of the tool. Raises Denied."""
    approval, role = str(declared.get("approval", NEVER)), declared.get("approval_role", "user")
    if approval != NEVER and ApprovalRule(approval).asks(arguments):
        require(caller, cast("Role", role))


class Approvals:
    """One caller's view: what runs of its namespace ask."""

    def __init__(self, gateway: Gateway, caller: Caller) -> None:
        self._gateway = gateway
        self._caller = caller
        self._stored = StoredRuns(gateway, caller)

    async def pending(
        self, agent: str, session: str, page_size: int, page_token: str
    ) -> tuple[list[tuple[Run, Approval]], str]:
        """What is asked, of a page of runs, the newest first; and the token of the next one. Raises InvalidInput."""
        if session and not agent:
            raise InvalidInput("a session belongs to an agent: name the agent too")
        wanted = RunFilter(agent=agent, asks_human=True)
        if session:
            wanted.session_key = session_key(self._gateway.mesh_key, self._caller.namespace, agent, session)
        runs, following = await self._stored.list(wanted, page_size, page_token)
        found = [(run, it) for run in runs for it in run.approvals if it.state == APPROVAL_STATE_PENDING]
        return found, following

    async def decide(self, run_id: str, path: str, decision: Decision) -> Run:
        """Approves or denies a call; answers the run as its log shows it then. The same decision again changes nothing.
        Of a question, a denial is that nobody will answer.

        Raises NotFound, Denied for a caller who may not decide, Conflict where it was decided otherwise or another call
        is meant, InvalidInput for arguments that do not fit.
        """
        run, approval = await self._asked(run_id, path, decision.effect_sha256)
        if approval.kind == APPROVAL_KIND_QUESTION:
            if decision.approved:
                raise InvalidInput(f"step {path} of run {run_id} asks a question: send an answer")
            return await self.answer(run_id, path, Answer(decision.comment, declined=True))
        _check_length(decision.comment, MAX_COMMENT_CHARACTERS, "comment")
        state = APPROVAL_STATE_APPROVED if decision.approved else APPROVAL_STATE_DENIED

        def agrees(done: Approval) -> bool:
            return done.state == state and plain(done.edited_arguments) == decision.edited_arguments

        body = DecideSignal(path=path, effect_sha256=approval.effect_sha256, approved=decision.approved)
        if decision.comment:
            body.comment.CopyFrom(text_content(decision.comment))
        if decision.edited_arguments:
            if not decision.approved:
                raise InvalidInput("a call that is denied is not made: leave its arguments out")
            await self._check_arguments(run_id, approval.tool, decision.edited_arguments)
            body.edited_arguments.CopyFrom(text_content(decision.edited_arguments))
        signal = self._stored.signal(run_id)
        signal.decide.CopyFrom(body)
        return await self._settled(run, approval, signal, agrees)

    async def answer(self, run_id: str, path: str, answer: Answer) -> Run:
        """Answers a question, or declines it. Raises like `decide`."""
        run, approval = await self._asked(run_id, path)
        if approval.kind != APPROVAL_KIND_QUESTION:
            raise InvalidInput(f"step {path} of run {run_id} asks for approval: send a decision")
        _check_length(answer.text, MAX_ANSWER_CHARACTERS, "answer")
        choices = [plain(choice) for choice in approval.choices]
        if choices and not answer.declined and answer.text not in choices:
            raise InvalidInput(f"the answer is none of the choices: {', '.join(choices)}")
        state = APPROVAL_STATE_DENIED if answer.declined else APPROVAL_STATE_ANSWERED

        def agrees(done: Approval) -> bool:
            return done.state == state and plain(done.comment) == answer.text

        signal = self._stored.signal(run_id)
        body = AnswerSignal(path=path, answer=text_content(answer.text), declined=answer.declined)
        signal.answer.CopyFrom(body)
        return await self._settled(run, approval, signal, agrees)

    async def _asked(self, run_id: str, path: str, effect_sha256: bytes = b"") -> tuple[Run, Approval]:
        run = await self._stored.run(run_id)
        approval = asked(run, path)
        if approval is None:
            raise NotFound(f"run {run_id} asks nobody anything at step {path[:80]!r}")
        # An admin may be needed for one call of an agent whose other calls any user may approve.
        require(self._caller, cast("Role", approval.role))
        if effect_sha256 and effect_sha256 != approval.effect_sha256:
            raise Conflict(f"step {path} of run {run_id} asks for another call than the one with this sha256")
        return run, approval

    async def _check_arguments(self, run_id: str, tool: str, arguments: str) -> None:
        for event in await self._stored.events(run_id):
            if event.envelope.run.HasField("started"):
                tools = event.envelope.run.started.tools
                spec = next((spec for spec in tools if spec.name == tool), None)
                read_arguments(arguments, spec.parameters_json if spec is not None else "")
                return

    async def _settled(self, run: Run, approval: Approval, signal: Signal, agrees: Callable[[Approval], bool]) -> Run:
        """The run once it is decided, by this signal or one that says the same; as it stands after five seconds."""
        if approval.state == APPROVAL_STATE_PENDING:
            run = await self._followed(run, approval.path, signal)
            approval = asked(run, approval.path) or approval
        if approval.state != APPROVAL_STATE_PENDING and not agrees(approval):
            by = f" by {approval.principal}" if approval.principal else ""
            state = STATES[approval.state]
            raise Conflict(f"step {approval.path} of run {run.run_id} is {state}{by} already")
        return run

    async def _followed(self, before: Run, path: str, signal: Signal) -> Run:
        aggregate = run_aggregate(self._caller.namespace, before.run_id)
        folder = CheckedFolder()
        async with aclosing(self._gateway.bus.log.follow(aggregate)) as events:
            await self._gateway.bus.signals.send(self._caller.namespace, signal)
            try:
                async with asyncio.timeout(EFFECT_SECONDS):
                    async for event in events:
                        folder.apply(event.envelope)
                        if _is_past(folder.run, path):
                            break
            except TimeoutError:
                return before
        await self._gateway.bus.values.resolve_all(folder.run)
        return folder.run


def _is_past(run: Run, path: str) -> bool:
    """Decided, and the run goes on, or waits for something else."""
    approval = asked(run, path)
    if approval is None or approval.state == APPROVAL_STATE_PENDING:
        return False
    return run.status not in WAITING or run.waiting_path != path


def _check_length(text: str, most: int, what: str) -> None:
    if len(text) > most:
        raise InvalidInput(f"{what} may have {most:,} characters")
