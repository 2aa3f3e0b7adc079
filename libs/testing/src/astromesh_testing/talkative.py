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
    if question.startswith("what did I say"):
        return Reply("You said: " + " / ".join(asked[:-1]))
    word, _, rest = question.partition(" ")
    reply = _REPLIES.get(word)
    return reply(rest) if reply else Reply(f"You asked: {question[:80]}")


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
