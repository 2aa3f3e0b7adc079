"""Which of a person's runs have not ended. Runs on the database's thread."""

from __future__ import annotations

import sqlite3
from typing import Final

from astromesh.v1.envelope_pb2 import Commit, Envelope
from astromesh.v1.history_pb2 import PersonRun
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED
from astromesh_core.events.runs import TERMINAL

# The first of both conditions on the status says what the status index is restricted to, or SQLite would not use it.
_BEGINNINGS: Final = (
    "SELECT data FROM aggregates JOIN commits ON aggregate = number AND first = 0 "
    f"WHERE type = 1 AND namespace = ? AND status <> {RUN_STATUS_COMPLETED} "
    f"AND status NOT IN ({', '.join(map(str, sorted(TERMINAL)))}) AND requested <= ? ORDER BY requested, number"
)


def open_runs_of(
    connection: sqlite3.Connection, namespace: str, user_key: str, until_unix_nano: int
) -> list[PersonRun]:
    """A person's runs that were requested up to a time and have not ended, the oldest first.

    Each open run of the namespace is looked at: there are few, and no column need be kept of all the others for it.
    """
    found: list[PersonRun] = []
    for (data,) in connection.execute(_BEGINNINGS, (namespace, until_unix_nano)):
        begun = Envelope.FromString(Commit.FromString(data).envelopes[0])
        requested = begun.run.requested
        if requested.user_key == user_key:
            found.append(PersonRun(run_id=begun.aggregate_id, agent=requested.agent, session_key=requested.session_key))
    return found
