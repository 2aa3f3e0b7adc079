"""`run` and `chat` against a mesh: what goes where, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from astromesh_testing.mesh import COMMAND

from .conftest import Terminal

ANSWER = "The ferry to Elba leaves Piombino every hour"


def test_the_answer_alone_goes_to_stdout_and_the_steps_to_stderr(terminal: Terminal) -> None:
    ended = terminal("run", "librarian", "When does the ferry to Elba leave?")
    assert ended.out.startswith(ANSWER)
    assert "Sources" not in ended.out
    assert "→ search" in ended.err
    assert "boats.md" in ended.err
    assert "\x1b" not in ended.out + ended.err


def test_without_streaming_the_same_answer_is_printed_once(terminal: Terminal) -> None:
    ended = terminal("run", "librarian", "-", "--no-stream", stdin="When does the ferry to Elba leave?")
    assert ended.out.count(ANSWER) == 1


def test_json_is_one_document_and_with_stream_a_line_for_each_event(terminal: Terminal) -> None:
    question = ("run", "librarian", "When does the ferry to Elba leave?", "--json")
    document = terminal(*question, "--session", "json").document()
    assert (document["status"], document["session_id"]) == ("completed", "json")
    lines = terminal(*question, "--stream").lines()
    assert lines[0]["event"] == "run"
    assert {"token", "tool_call", "tool_result", "step", "done"} <= {str(line["event"]) for line in lines}


def test_a_run_that_fails_ends_with_1_and_names_the_run(terminal: Terminal) -> None:
    ended = terminal("run", "broken", "hello", code=1)
    assert "astromesh runs show" in ended.err
    document = terminal("run", "broken", "hello", "--json", code=1).document()
    assert document["run_id"]
    assert document["status"] == 503


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "nobody", "hello"), 1, "there is no agent 'nobody'"),
        (("run", "librarian", "hello", "--context", "[1]"), 2, "must be a JSON object"),
        (("run", "librarian", "hello", "--context", "{"), 2, "is no JSON"),
        (("runs", "show", "43-aaaaaaaaaaaaaaaaaaaaaaaaaa"), 1, "there is no run"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    terminal: Terminal, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = terminal(*arguments, code=code)
    assert said in ended.err
    assert ended.out == ""


def test_where_nothing_answers_every_command_says_so_and_ends_with_69(nowhere: Terminal) -> None:
    for arguments in (("run", "a", "b"), ("chat", "a"), ("get", "agents"), ("runs", "list"), ("rag", "ingest", "docs")):
        ended = nowhere(*arguments, code=69)
        assert ended.err == f"error: nothing answers at {nowhere.url}; start it with `astromesh up`\n"
    assert nowhere("get", "agents", "--json", code=69).document()["title"] == "Not reachable"


def test_a_conversation_keeps_its_session_and_goes_on_after_an_error(terminal: Terminal) -> None:
    talk = "When does the ferry to Elba leave?\n/help\n\nHow long does a sourdough loaf rest?\n/exit\nnever asked\n"
    ended = terminal("chat", "librarian", "--session", "talk", stdin=talk)
    assert ANSWER in ended.out
    assert "rests for twelve hours" in ended.out
    runs = terminal("runs", "list", "--agent", "librarian", "--session", "talk", "--json").document()["runs"]
    assert isinstance(runs, list)
    assert len(runs) == 2
    failing = terminal("chat", "broken", stdin="one\ntwo\n")
    assert failing.err.count("error:") == 2


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """Has children heed SIGINT also where these tests run in a shell's background: what is ignored is inherited."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_ctrl_c_cancels_the_run(terminal: Terminal) -> None:
    environment = {**os.environ, "ASTROMESH_URL": terminal.url}
    command = [COMMAND, "run", "silent", "hello", "--json", "--stream"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        told = re.search(rb'"run_id":"([^"]+)"', running.stdout.readline())
        assert told
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=15)
        assert running.returncode == 130, said.decode()
    run_id = told[1].decode()
    assert terminal("runs", "show", run_id, "--json").document()["status"] == "cancelled"
    assert terminal("runs", "cancel", run_id, "--json").document()["status"] == "cancelled"
