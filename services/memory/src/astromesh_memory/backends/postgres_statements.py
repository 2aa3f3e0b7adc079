"""The tables of conversations in PostgreSQL, and the statements on them. Every row names its mesh."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg.sql import SQL

STEPS: Final = (
    (
        SQL(
            """
            CREATE TABLE astromesh.conversation_agent (
                mesh text NOT NULL, namespace text NOT NULL, agent text NOT NULL, position bytea NOT NULL,
                PRIMARY KEY (mesh, namespace, agent)
            )
            """
        ),
        SQL(
            """
            CREATE TABLE astromesh.conversation_session (
                mesh text NOT NULL, namespace text NOT NULL, session_key text COLLATE "C" NOT NULL, agent text NOT NULL,
                session_id bytea NOT NULL, turns bigint NOT NULL, first bigint NOT NULL, last bigint NOT NULL,
                PRIMARY KEY (mesh, namespace, session_key)
            )
            """
        ),
        SQL(
            "CREATE INDEX conversation_session_used"
            " ON astromesh.conversation_session (mesh, namespace, agent, last, session_key)"
        ),
        SQL(
            """
            CREATE TABLE astromesh.conversation_turn (
                mesh text NOT NULL, namespace text NOT NULL, session_key text COLLATE "C" NOT NULL,
                position bytea NOT NULL, event_index bigint NOT NULL, agent text NOT NULL, run_id text NOT NULL,
                time_unix_nano bigint NOT NULL, user_key text NOT NULL, session_id bytea NOT NULL,
                stored bytea NOT NULL,
                PRIMARY KEY (mesh, namespace, session_key, position, event_index)
            )
            """
        ),
        SQL(
            "CREATE INDEX conversation_turn_user"
            " ON astromesh.conversation_turn (mesh, namespace, user_key) WHERE user_key <> ''"
        ),
        SQL("CREATE INDEX conversation_turn_agent ON astromesh.conversation_turn (mesh, namespace, agent)"),
        SQL(
            """
            CREATE TABLE astromesh.conversation_summary (
                mesh text NOT NULL, namespace text NOT NULL, session_key text COLLATE "C" NOT NULL, agent text NOT NULL,
                position bytea NOT NULL, event_index bigint NOT NULL, through_run_id text NOT NULL,
                time_unix_nano bigint NOT NULL, text bytea NOT NULL, PRIMARY KEY (mesh, namespace, session_key)
            )
            """
        ),
        SQL(
            """
            CREATE TABLE astromesh.conversation_forgotten (
                mesh text NOT NULL, namespace text NOT NULL, session_key text COLLATE "C" NOT NULL,
                user_key text NOT NULL, agent text NOT NULL, position bytea NOT NULL, until bigint NOT NULL,
                PRIMARY KEY (mesh, namespace, session_key, user_key)
            )
            """
        ),
    ),
)
"""Of the component `conversations`: one step so far."""

FOLLOWED: Final = "SELECT namespace, agent, position FROM astromesh.conversation_agent WHERE mesh = %s"
FOLLOW: Final = "INSERT INTO astromesh.conversation_agent VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
LOCK: Final = """
SELECT namespace, agent, position FROM astromesh.conversation_agent
WHERE mesh = %s AND (namespace, agent) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
ORDER BY namespace, agent FOR UPDATE
"""
ADVANCE: Final = (
    "UPDATE astromesh.conversation_agent SET position = %s WHERE mesh = %s AND namespace = %s AND agent = %s"
)
REMEMBER: Final = """
WITH turn AS (
    INSERT INTO astromesh.conversation_turn
    SELECT %(mesh)s, %(namespace)s, %(session_key)s, %(position)s, %(event_index)s, %(agent)s,
        %(run_id)s, %(time_unix_nano)s, %(user_key)s, %(session_id)s, %(stored)s
    WHERE NOT EXISTS (
        SELECT FROM astromesh.conversation_forgotten WHERE mesh = %(mesh)s AND namespace = %(namespace)s
        AND session_key = %(session_key)s AND user_key IN ('', %(user_key)s)
        AND (position >= %(position)s OR until >= %(time_unix_nano)s))
    ON CONFLICT DO NOTHING RETURNING mesh, namespace, session_key, agent, session_id, time_unix_nano
)
INSERT INTO astromesh.conversation_session AS known
SELECT mesh, namespace, session_key, agent, session_id, 1, time_unix_nano, time_unix_nano FROM turn
ON CONFLICT (mesh, namespace, session_key) DO UPDATE SET turns = known.turns + 1,
    first = least(known.first, excluded.first), last = greatest(known.last, excluded.last),
    session_id = greatest(known.session_id, excluded.session_id)
"""
SUMMARISE: Final = """
INSERT INTO astromesh.conversation_summary AS known
SELECT %(mesh)s, %(namespace)s, %(session_key)s, %(agent)s, %(position)s, %(event_index)s,
    %(through_run_id)s, %(time_unix_nano)s, %(text)s
WHERE NOT EXISTS (
    SELECT FROM astromesh.conversation_forgotten WHERE mesh = %(mesh)s AND namespace = %(namespace)s
    AND session_key = %(session_key)s AND (position >= %(position)s OR until >= %(time_unix_nano)s))
ON CONFLICT (mesh, namespace, session_key) DO UPDATE SET position = excluded.position,
    event_index = excluded.event_index, through_run_id = excluded.through_run_id,
    time_unix_nano = excluded.time_unix_nano, text = excluded.text
WHERE (excluded.position, excluded.event_index) > (known.position, known.event_index)
"""
FORGET: Final = """
INSERT INTO astromesh.conversation_forgotten AS known
VALUES (%(mesh)s, %(namespace)s, %(session_key)s, %(user_key)s, %(agent)s, %(position)s, %(until_unix_nano)s)
ON CONFLICT (mesh, namespace, session_key, user_key) DO UPDATE
SET position = greatest(known.position, excluded.position), until = greatest(known.until, excluded.until)
"""
_COVERED: Final = """
WHERE mesh = %(mesh)s AND namespace = %(namespace)s AND session_key = %(session_key)s AND agent = %(agent)s
AND (position <= %(position)s OR time_unix_nano <= %(until_unix_nano)s)
"""
DROP_SUMMARY: Final = f"DELETE FROM astromesh.conversation_summary {_COVERED}"
DROP_TURNS: Final = f"DELETE FROM astromesh.conversation_turn {_COVERED} AND %(user_key)s IN ('', user_key)"
DROP_SESSION: Final = """
DELETE FROM astromesh.conversation_session
WHERE mesh = %(mesh)s AND namespace = %(namespace)s AND session_key = %(session_key)s
"""
COUNT_SESSION: Final = """
INSERT INTO astromesh.conversation_session
SELECT mesh, namespace, session_key, agent, max(session_id), count(*), min(time_unix_nano), max(time_unix_nano)
FROM astromesh.conversation_turn WHERE mesh = %(mesh)s AND namespace = %(namespace)s AND session_key = %(session_key)s
GROUP BY mesh, namespace, session_key, agent
"""
_TURN: Final = """
SELECT run_id, time_unix_nano, user_key, stored, position, event_index FROM astromesh.conversation_turn
WHERE mesh = %s AND namespace = %s AND session_key = %s
"""
POSITION: Final = "SELECT position FROM astromesh.conversation_agent WHERE mesh = %s AND namespace = %s AND agent = %s"
LAST: Final = f"{_TURN} ORDER BY position DESC, event_index DESC LIMIT %s"
PAGE: Final = f"{_TURN} AND (position, event_index) > (%s, %s) ORDER BY position, event_index LIMIT %s"
SUMMARY: Final = """
SELECT through_run_id, time_unix_nano, text FROM astromesh.conversation_summary
WHERE mesh = %s AND namespace = %s AND session_key = %s
"""
_SESSION: Final = "SELECT session_key, agent, session_id, turns, first, last FROM astromesh.conversation_session"
SESSIONS: Final = f"""
{_SESSION} WHERE mesh = %s AND namespace = %s AND agent = %s AND (last, session_key) < (%s, %s)
ORDER BY last DESC, session_key DESC LIMIT %s
"""
IDLE: Final = f"""
{_SESSION} WHERE mesh = %s AND namespace = %s AND agent = %s AND last <= %s ORDER BY last, session_key LIMIT %s
"""
OF_USER: Final = f"""
{_SESSION} WHERE mesh = %s AND namespace = %s AND session_key IN (
    SELECT session_key FROM astromesh.conversation_turn
    WHERE mesh = %s AND namespace = %s AND user_key = %s AND user_key <> '')
ORDER BY agent COLLATE "C", session_key
"""
DROP: Final[tuple[LiteralString, ...]] = (
    "DELETE FROM astromesh.conversation_agent WHERE mesh = %s AND namespace = %s AND agent = %s",
    "DELETE FROM astromesh.conversation_session WHERE mesh = %s AND namespace = %s AND agent = %s",
    "DELETE FROM astromesh.conversation_turn WHERE mesh = %s AND namespace = %s AND agent = %s",
    "DELETE FROM astromesh.conversation_summary WHERE mesh = %s AND namespace = %s AND agent = %s",
    "DELETE FROM astromesh.conversation_forgotten WHERE mesh = %s AND namespace = %s AND agent = %s",
)
"""The agent's row first: whoever applies waits for it, and then finds that the agent is not followed."""
