"""What a run asks of the world, what comes back, and the context in which a pattern asks. Pure: nothing is done here.

An outcome is the run event that records it, so what a recovery feeds back is what was first fed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from astromesh.v1.effect_pb2 import AgentEffect, Effect, ModelEffect, ToolEffect
from astromesh.v1.run_events_pb2 import ChildFinished, Handoff, ModelReplied, ToolFailed, ToolSucceeded
from astromesh.v1.values_pb2 import ROLE_TOOL, Failure, Message, Passage, ToolCall
from astromesh_core.agent_calls import question_of
from astromesh_core.errors import AstromeshError, InvalidInput, LimitExceeded
from astromesh_core.events.canonical import KeyedDigest, canonical_json, effect_sha256
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.handing_over import HAND_OFF, handed_to
from astromesh_runtime.transcript import Transcript

if TYPE_CHECKING:
    from astromesh_runtime.guarding import Guard

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckInput:
    """Check the question against the agent's input rules. Outcome: InputChecked."""

    text: str


@dataclass(frozen=True, slots=True)
class AssembleContext:
    """Recall, retrieve and render the prompt for this question. Outcome: ContextAssembled."""

    query: str


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model of a role. Outcome: ModelReplied, a message or a failure."""

    path: str
    role: str
    transcript: Transcript
    sha256: bytes
    offers_tools: bool = True
    output_schema_json: str = ""
    """What the reply's text has to match; empty: free text."""
    is_heard: bool = True
    """False where the reply is no part of what the run's caller is told."""
    timeout_seconds: float = 0.0
    """0: as long as the run may take."""


@dataclass(frozen=True, slots=True)
class CallTool:
    """Call one tool. Outcome: ToolSucceeded or ToolFailed; an unknown one never reaches a pattern."""

    path: str
    call: ToolCall
    sha256: bytes
    refused: Failure | None = None
    """Why it is not made."""

    @property
    def is_refused(self) -> bool:
        """Whether it fails without being made."""
        return self.refused is not None


@dataclass(frozen=True, slots=True)
class CallAgent:
    """Run another agent as a child of this run. Outcome: ChildFinished, an answer or a failure."""

    path: str
    agent: str
    query: str
    sha256: bytes
    call: ToolCall | None = None
    """Of the model, where it asked."""
    refused: str = ""
    """Why the model's arguments are no question."""
    timeout_seconds: float = 0.0
    """0: as long as this run may take."""
    transcript: Transcript | None = None
    """The conversation that it goes on with."""
    handoffs: tuple[Handoff, ...] = ()
    """The agents that it may hand that to."""

    @property
    def is_refused(self) -> bool:
        """Whether it fails without being made."""
        return bool(self.refused)


@dataclass(frozen=True, slots=True)
class CallTools:
    """Call these tools and agents at once. Outcome: theirs, in the order of the calls."""

    path: str
    calls: tuple[CallTool | CallAgent, ...]


@dataclass(frozen=True, slots=True)
class CheckArguments:
    """Check what these calls are to be made with. Outcome: a ToolArgumentsChecked for each, in their order."""

    path: str
    calls: tuple[CallTool | CallAgent, ...]


@dataclass(frozen=True, slots=True)
class CheckResults:
    """Check what came of these calls. Outcome: a ToolResultChecked for each, in their order; None of a refused one."""

    path: str
    calls: tuple[CallTool | CallAgent, ...]
    outcomes: tuple[ToolSucceeded | ToolFailed | ChildFinished, ...]


@dataclass(frozen=True, slots=True)
class CheckOutput:
    """Check the answer against the agent's output rules. Outcome: OutputChecked."""

    text: str
    passages: tuple[Passage, ...] = ()
    """What was retrieved for it."""


@dataclass(frozen=True, slots=True)
class Remember:
    """Put this turn into the session's memory. Outcome: MemoryStored."""

    turn: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class RememberSummary:
    """Put what the session's older turns come to into its memory. Outcome: MemoryStored."""

    text: str
    through_run_id: str


@dataclass(frozen=True, slots=True)
class Gather:
    """Do these at once. Outcome: theirs, in their order. It has no identity of its own: each of them has."""

    effects: tuple[CallModel | CheckArguments | CallTools | CheckResults | Gather, ...]


SingleEffect: TypeAlias = (
    CheckInput
    | AssembleContext
    | CallModel
    | CheckArguments
    | CallTools
    | CheckResults
    | CheckOutput
    | Remember
    | RememberSummary
)
SagaEffect: TypeAlias = SingleEffect | Gather
ToolOutcome: TypeAlias = ToolSucceeded | ToolFailed | ChildFinished
PatternEffect: TypeAlias = CallModel | CheckArguments | CallTools | CheckResults | Gather
Pattern: TypeAlias = Generator[PatternEffect, Any, T]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a pattern returns."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply."""

    text: str
    tool_calls: tuple[ToolCall, ...]


class EffectFailed(AstromeshError):
    """An effect that the pattern needed failed for good. `failure` is as recorded."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(plain(failure.message))
        self.failure = failure


class IterationsExhausted(LimitExceeded):
    """The model still called tools after the last iteration that its agent allows."""

    def __init__(self, max_iterations: int) -> None:
        super().__init__(
            f"no answer after {max_iterations} iterations; raise spec.orchestration.max_iterations or simplify the task"
        )


@dataclass(slots=True)
class RunContext:
    """What a pattern sees of its run. It numbers the steps, and keeps the transcript up to date."""

    transcript: Transcript
    digester: KeyedDigest
    max_iterations: int
    tools_sha256: bytes = b""
    output_schema_json: str = ""
    """Of the run's answer: every reply may be it, so all are asked for in this form."""
    sources: list[Passage] = field(default_factory=list[Passage])
    agents: Mapping[str, str] = field(default_factory=dict[str, str])
    """The tools that are agents, and whom each runs."""
    handoffs: tuple[str, ...] = ()
    """The agents that the conversation may be handed to."""
    guard: Guard | None = None
    """What stands between the run and its tools; None where nothing does."""
    options_json: str = ""
    """Of the pattern, as its agent's file has them."""
    is_heard: bool = True
    """False where nothing that its models say is told to the run's caller."""
    timeout_seconds: float = 0.0
    """Of each call of a model; 0: as long as the run may take."""
    path: str = ""
    """In front of its steps' numbers: empty but for a branch."""
    _steps: int = 0

    def branch(
        self, transcript: Transcript, *, answers: bool = False, path: str = "", timeout_seconds: float = 0.0
    ) -> RunContext:
        """A context for a part of the run, with a transcript of its own. Its steps are numbered below a step of this
        one, or below the path given.

        `answers`: what its models say is the run's answer, told to its caller and held to its schema.
        """
        return RunContext(
            transcript,
            self.digester,
            self.max_iterations,
            self.tools_sha256,
            self.output_schema_json if answers else "",
            self.sources,
            self.agents,
            self.handoffs,
            self.guard,
            is_heard=answers and self.is_heard,
            timeout_seconds=timeout_seconds,
            path=f"{path or self.next_path()}.",
        )

    def model(
        self, transcript: Transcript, role: str = "default", *, offers_tools: bool = True, schema: str | None = None
    ) -> Pattern[Reply]:
        """Calls the model; its reply joins the transcript. `schema` (JSON text) is what it has to match instead of the
        run's own. Raises EffectFailed where no candidate answered."""
        schema = self.output_schema_json if schema is None else schema
        effect = ModelEffect(
            role=role,
            transcript_digest=transcript.digest,
            transcript_length=len(transcript.messages),
            tools_sha256=self.tools_sha256 if offers_tools else b"",
            output_schema_sha256=hashlib.sha256(schema.encode()).digest() if schema else b"",
        )
        sha256 = effect_sha256(Effect(model=effect))
        call = CallModel(
            self.next_path(), role, transcript, sha256, offers_tools, schema, self.is_heard, self.timeout_seconds
        )
        outcome = cast("ModelReplied", (yield call))
        if outcome.HasField("failure"):
            raise EffectFailed(outcome.failure)
        self.transcript = transcript.plus(outcome.message)
        return Reply(plain(outcome.message.content), tuple(outcome.message.tool_calls))

    def tools(self, calls: Iterable[ToolCall]) -> Pattern[list[Message]]:
        """Calls tools at once; what they answer joins the transcript, failures too, for the model to work with.

        Raises HandedOver where one of them is the handing over of the conversation: then none is made.
        """
        path = self.next_path()
        members = tuple(self._call(f"{path}.{number}", call) for number, call in enumerate(calls, 1))
        handed = next((member for member in members if self._hands_over(member)), None)
        if handed is not None and handed.call is not None:
            raise handed_to(plain(handed.call.arguments), self.handoffs)
        if self.guard is not None:
            members = yield from self.guard.before(path, members, self._call)
        outcomes = cast("Sequence[ToolOutcome]", (yield CallTools(path, members)))
        if self.guard is not None:
            outcomes = yield from self.guard.after(path, members, outcomes)
        messages = [
            answer(member.call or ToolCall(), outcome) for member, outcome in zip(members, outcomes, strict=True)
        ]
        if self.guard is not None:
            messages = self.guard.told(members, messages)
        for outcome in outcomes:
            self.sources.extend(_sources(outcome))
        self.transcript = self.transcript.plus(*messages)
        return messages

    def agent(self, name: str, query: str, timeout_seconds: float = 0.0) -> Pattern[Message]:
        """Runs another agent; answers with what a model reads of it. Raises EffectFailed where it gave no answer."""
        path = self.next_path()
        effect = AgentEffect(agent=name, query_digest=self.digester.of_text(query))
        sha256 = effect_sha256(Effect(agent=effect))
        members = (CallAgent(f"{path}.1", name, query, sha256, timeout_seconds=timeout_seconds),)
        outcomes = cast("Sequence[ChildFinished]", (yield CallTools(path, members)))
        if self.guard is not None:
            outcomes = cast("Sequence[ChildFinished]", (yield from self.guard.after(path, members, outcomes)))
        (finished,) = outcomes
        if finished.HasField("failure"):
            raise EffectFailed(finished.failure)
        self.sources.extend(finished.sources)
        message = answer(ToolCall(name=name), finished)
        return message if self.guard is None else self.guard.marked(message)

    def hand_over(
        self, name: str, query: str, transcript: Transcript, handoffs: Sequence[Handoff]
    ) -> Pattern[ChildFinished]:
        """Lets another agent go on with a conversation, which it may hand on in its turn. Raises EffectFailed."""
        path = self.next_path()
        effect = AgentEffect(
            agent=name,
            query_digest=self.digester.of_text(query),
            transcript_digest=transcript.digest,
            handoffs=[each.agent for each in handoffs],
        )
        sha256 = effect_sha256(Effect(agent=effect))
        member = CallAgent(f"{path}.1", name, query, sha256, transcript=transcript, handoffs=tuple(handoffs))
        (finished,) = cast("Sequence[ChildFinished]", (yield CallTools(path, (member,))))
        if finished.HasField("failure"):
            raise EffectFailed(finished.failure)
        self.sources.extend(finished.sources)
        return finished

    def next_path(self) -> str:
        """The path of the step that comes next: it is this one's from here on."""
        self._steps += 1
        return f"{self.path}{self._steps}"

    def _call(self, path: str, call: ToolCall) -> CallTool | CallAgent:
        agent = self.agents.get(call.name)
        if agent is not None:
            return self._asked(path, agent, call)
        digest = self.digester.of_text(plain(call.arguments))
        effect = ToolEffect(tool_call_id=call.id, name=call.name, arguments_digest=digest)
        refused = self._refusal(call) if call.name == HAND_OFF and self.handoffs else None
        return CallTool(path, call, effect_sha256(Effect(tool=effect)), refused)

    def _hands_over(self, member: CallTool | CallAgent) -> bool:
        return (
            bool(self.handoffs) and isinstance(member, CallTool) and member.call.name == HAND_OFF and not member.refused
        )

    def _refusal(self, call: ToolCall) -> Failure | None:
        try:
            handed_to(plain(call.arguments), self.handoffs)
        except InvalidInput as error:
            return Failure(error_class=error.code, message=text_content(error.message))
        return None

    def _asked(self, path: str, agent: str, call: ToolCall) -> CallAgent:
        arguments = plain(call.arguments)
        sha256 = effect_sha256(
            Effect(agent=AgentEffect(agent=agent, query_digest=self.digester.of_text(arguments), tool_call_id=call.id))
        )
        try:
            return CallAgent(path, agent, question_of(arguments), sha256, call)
        except InvalidInput as error:
            return CallAgent(path, agent, "", sha256, call, refused=error.message)


PatternFunction: TypeAlias = Callable[[RunContext], Generator[Any, Any, Answer]]


def answer(call: ToolCall, outcome: ToolOutcome) -> Message:
    """What the model reads of a call's outcome."""
    if isinstance(outcome, ToolSucceeded):
        text = plain(outcome.result.output)
    elif isinstance(outcome, ChildFinished) and outcome.HasField("answer"):
        text = plain(outcome.answer)
    else:
        failure = outcome.failure
        text = canonical_json({"error": failure.error_class, "message": plain(failure.message)}).decode()
    if outcome.HasField("edited_arguments"):
        text = f"(A human changed the arguments of this call to {plain(outcome.edited_arguments)})\n{text}"
    return Message(role=ROLE_TOOL, content=text_content(text), tool_call_id=call.id, name=call.name)


def _sources(outcome: ToolOutcome) -> Iterable[Passage]:
    if isinstance(outcome, ToolSucceeded):
        return outcome.result.passages
    return outcome.sources if isinstance(outcome, ChildFinished) else ()
