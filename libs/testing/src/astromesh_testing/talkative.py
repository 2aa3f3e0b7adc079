"""A model for whole meshes that does what the question says, so that tests sharing a mesh do not share a script.

`add 1 2` calls the tool add; `note x` calls note, a write; `hold x 3` calls hold, a write of that many seconds;
`count x` calls count, an idempotent tool; `use t {…}` calls the tool t with these arguments; `say x` and `slowly x`
answer x; `what did I say` lists the earlier questions; `hang` never answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from astromesh_core.untrusted import unmarked
from astromesh_testing.models.replies import Call, Hang, Reply, Scripted
from astromesh_testing.models.scripted import ChatRequest

SLOW_PAUSE_SECONDS = 0.05


def converse(request: ChatRequest) -> Scripted:
    """The reply to a request: by its last question, or by the tool's result that came after it."""
    last = request.messages[-1]
    if last.get("role") == "tool":
        return Reply(f"It is {unmarked(str(last.get('content')))}.")
    asked = [str(message.get("content")) for message in request.messages if message.get("role") == "user"]
    question = asked[-1] if asked else ""
    patterned = _as_part(request, question)
    if patterned is not None:
        return patterned
    if "Your step: " in question:
        question = question.partition("Your step: ")[2].partition("\n")[0]
    if question.startswith("what did I say"):
        return Reply("You said: " + " / ".join(asked[:-1]))
    word, _, rest = question.partition(" ")
    reply = _REPLIES.get(word)
    return reply(rest) if reply else Reply(f"You asked: {question[:80]}")


def _as_part(request: ChatRequest, question: str) -> Reply | None:
    """What a planner, a judge or a synthesizer says: a plan has a step for each task between `and`s."""
    first = request.messages[0]
    prompt = str(first.get("content")) if first.get("role") == "system" else ""
    if "You plan how the task is done" in prompt:
        tasks = question.split(" and ")
        steps = [{"id": str(number), "task": task, "needs": list[str]()} for number, task in enumerate(tasks, 1)]
        return Reply(orjson.dumps({"steps": steps}).decode())
    if "steps of a plan" in prompt or "Several of your colleagues" in prompt:
        return Reply("Together: " + " / ".join(re.findall(r"^\[[^\]]*\]\n(.*)$", question, re.MULTILINE)))
    if "handed this to you" in question:
        return Reply("Taken over.")
    if question.startswith("Look over your answer"):
        said = [str(message.get("content")) for message in request.messages if message.get("role") == "assistant"]
        return Reply(said[-1])
    return None


def _call(tool: str, **arguments: object) -> Reply:
    return Reply(calls=(Call(tool, orjson.dumps(arguments).decode(), "call_1"),))


def _add(rest: str) -> Reply:
    first, second = (int(number) for number in re.findall(r"-?\d+", rest)[:2])
    return _call("add", a=first, b=second)


def _hold(rest: str) -> Reply:
    text, _, seconds = rest.rpartition(" ")
    return _call("hold", text=text, seconds=float(seconds))


def _use(rest: str) -> Reply:
    tool, _, arguments = rest.partition(" ")
    return Reply(calls=(Call(tool, arguments, "call_1"),))


_REPLIES: dict[str, Callable[[str], Scripted]] = {
    "add": _add,
    "note": lambda rest: _call("note", text=rest),
    "hold": _hold,
    "count": lambda rest: _call("count", text=rest),
    "use": _use,
    "say": lambda rest: Reply(rest),
    "slowly": lambda rest: Reply(rest, pause=SLOW_PAUSE_SECONDS),
    "hang": lambda rest: Hang(),
}
