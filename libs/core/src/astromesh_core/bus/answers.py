"""What the server may answer to a publish, and what each answer means for the append. No I/O.

stored       {"stream", "seq"}, also where it is a duplicate: these very bytes are in the log
wrong last   10071: another message follows the expected one; whose, only a read tells
full         10077, 10023, 10047, 10002: the store has no room; nothing was stored
unsettled    10164, 10158, 10163, any other 5xx: ask again with the same bytes
refused      anything else: the request itself is wrong
"""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson
from nats.aio.msg import Msg


class Stored(NamedTuple):
    """These bytes are in the log at this sequence."""

    sequence: int


class WrongLast(NamedTuple):
    """The aggregate's last message is the one at `last`, not the expected one."""

    last: int


class Full(NamedTuple):
    """There is no room; nothing was stored."""

    reason: str


class Unsettled(NamedTuple):
    """No answer yet. It may be stored, or be stored later."""

    reason: str


class Refused(NamedTuple):
    """The server will never take this."""

    code: int
    reason: str


Answer = Stored | WrongLast | Full | Unsettled | Refused

WRONG_LAST = 10071
UNSETTLED = frozenset({10158, 10163, 10164})
FULL = frozenset({10002, 10023, 10047, 10077})

_LAST = re.compile(r"wrong last sequence: (\d+)")
_SERVER_ERROR = 500


def read_answer(message: Msg) -> Answer:
    """The meaning of the server's reply to a publish."""
    try:
        reply = orjson.loads(message.data)
        error = reply.get("error")
        return Stored(int(reply["seq"])) if error is None else _meaning(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unsettled(f"an answer that cannot be read: {message.data[:80]!r}")


def _meaning(error: dict[str, object]) -> Answer:
    code = int(str(error.get("err_code", 0)))
    reason = f"{error.get('description', 'no reason')} ({code})"
    last = _LAST.search(reason)
    if code == WRONG_LAST and last is not None:
        return WrongLast(int(last[1]))
    if code in FULL:
        return Full(reason)
    if code in UNSETTLED or code == WRONG_LAST or int(str(error.get("code", 0))) >= _SERVER_ERROR:
        return Unsettled(reason)
    return Refused(code, reason)
