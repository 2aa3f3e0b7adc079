"""Logs: structured, with the run they belong to, without secrets and content."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from astromesh_core.telemetry.logs import configure_logs, is_secret, logged_with, logger
from astromesh_core.telemetry.tracing import UnrecordedSpans


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_the_run_and_the_trace() -> None:
    stream = io.StringIO()
    configure_logs("info", "auto", record_content=False, stream=stream)
    with logged_with(run_id="07-abc"), UnrecordedSpans().span("run") as span:
        logger("astromesh.test").info("model replied", attempt=2)
    (line,) = lines(stream)
    assert line["event"] == "model replied"
    assert (line["run_id"], line["attempt"], line["level"]) == ("07-abc", 2, "info")
    assert line["trace_id"] == span.traceparent.split("-")[1]


def test_libraries_speak_through_the_same_stream() -> None:
    stream = io.StringIO()
    configure_logs("warning", "json", record_content=False, stream=stream)
    logging.getLogger("some.library").info("too quiet")
    logging.getLogger("some.library").warning("disk %s", "full")
    assert [line["event"] for line in lines(stream)] == ["disk full"]


@pytest.mark.parametrize("record_content", [False, True])
def test_secrets_never_pass_and_content_only_where_switched_on(record_content: bool) -> None:
    stream = io.StringIO()
    configure_logs("info", "json", record_content=record_content, stream=stream)
    logger("t").info("called", api_key="k-1", headers={"Authorization": "Bearer k-2"}, query="my words", input_tokens=7)
    text = stream.getvalue()
    assert "k-1" not in text
    assert "k-2" not in text
    assert ("my words" in text) is record_content
    assert lines(stream)[0]["input_tokens"] == 7


def test_an_exception_is_told_with_its_cause_for_whoever_mends_it() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", record_content=False, stream=stream)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logger("t").exception("broken")
    assert "ZeroDivisionError" in str(lines(stream)[0]["exception"])


def test_a_terminal_reads_lines_and_not_json() -> None:
    stream = io.StringIO()
    configure_logs("info", "console", record_content=False, stream=stream)
    logger("t").info("serving", address="here")
    assert "serving" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("key", ["api_key", "X-Api-Key", "Authorization", "mesh_token", "db_password", "clientSecret"])
def test_knows_a_secret_by_its_name(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", ["input_tokens", "tokens", "agent", "path"])
def test_counts_are_no_secrets(key: str) -> None:
    assert not is_secret(key)
