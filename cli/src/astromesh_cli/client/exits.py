"""The exit codes of every command, and how an error of the mesh becomes one. What is printed stands in `failures`."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script may rely on; the numbers beyond 2 are those of sysexits.h."""

    OK = 0
    FAILED = 1
    """The thing itself: a run failed, a replay differs, a chain is broken, a file is invalid, nothing has that name."""
    USAGE = 2
    UNREACHABLE = 69
    LATER = 75
    DENIED = 77
    CONFIGURATION = 78
    """A mesh that cannot start as it is configured."""
    INTERRUPTED = 130


EPILOG = (
    "Exit codes: 0 it went well, 1 it did not (a run failed, a replay differs, a file is invalid, no such thing), "
    "2 wrong usage, 69 nothing answers there, 75 try again later, 77 not allowed, 130 interrupted."
)


def exit_of_status(status: int) -> Exit:
    """The exit code for an HTTP status of 400 or more."""
    if status in (401, 403):
        return Exit.DENIED
    if status in (429, 502, 503, 504):
        return Exit.LATER
    return Exit.FAILED
