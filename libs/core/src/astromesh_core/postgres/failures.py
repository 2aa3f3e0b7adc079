"""PostgreSQL's errors as ours. No address and no password stands in a message."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from astromesh_core.errors import InvalidInput, Unavailable

RETRY_SECONDS = 1.0
_LONGEST_REASON = 300

_GONE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
)
"""Cannot be reached, was shut down, refuses the password, has no room, is a standby, or took the connection away."""


@contextmanager
def told_of(shown: str) -> Generator[None]:
    """Raises Unavailable, with the reason, for what a person or time can mend; other errors pass, for they are ours."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        message = f"PostgreSQL at {shown} does not allow it: {reason_of(error)}; grant it to this user"
        raise Unavailable(message, retry_after=RETRY_SECONDS) from error
    except _GONE as error:
        raise Unavailable(f"PostgreSQL at {shown}: {reason_of(error)}", retry_after=RETRY_SECONDS) from error


def unreadable() -> InvalidInput:
    """For an address that libpq does not understand: its own words would repeat a part of it."""
    return InvalidInput("the connection is no PostgreSQL address; write one such as postgresql://host:5432/database")


def reason_of(error: psycopg.Error) -> str:
    """What the server or libpq says, in one line."""
    said = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(said.split())[:_LONGEST_REASON]
