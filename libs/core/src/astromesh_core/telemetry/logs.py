"""Structured logs: JSON for machines, coloured lines for people, always with the run they belong to. Secrets never
pass; content passes only where recording it is switched on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from astromesh_core.telemetry.traceparent import current_traceparent, parse

LogFormat = Literal["auto", "json", "console"]

SECRET_WORDS = ("api_key", "authorization", "credential", "password", "secret", "token")
"""A key that contains one of these is masked, whatever its value."""

COUNTS = frozenset({"input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "tokens", "max_tokens"})
"""Keys that only look like secrets."""

CONTENT_KEYS = frozenset(
    {"answer", "arguments", "content", "context", "messages", "output", "passages", "prompt", "query", "result", "text"}
)
"""Keys that hold what people and models said."""

_MASK = "***"
_LEFT_OUT = "(content not recorded)"


def configure_logs(level: str, form: LogFormat, *, record_content: bool, stream: TextIO = sys.stderr) -> None:
    """Sends every log line of this process, ours and the libraries', to `stream`. Called once, by whoever owns the
    process.

    `auto` writes coloured lines to a terminal and JSON to anything else.
    """
    as_json = form == "json" or (form == "auto" and not stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.stdlib.ExtraAdder(),
        Redaction(record_content),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(as_json, stream))
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("faiss.loader", "httpx", "httpx2", "mcp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module: `log = logger(__name__)`. Costs nothing until used."""
    return structlog.stdlib.get_logger(name)


@contextmanager
def logged_with(**fields: str) -> Generator[None]:
    """Every line logged in the block, and in tasks started there, carries the fields: `with
    logged_with(run_id=...)`."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


class Redaction:
    """A structlog processor that masks secrets and leaves content out."""

    def __init__(self, record_content: bool) -> None:
        self._record_content = record_content

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The event without what must not be recorded; values in nested mappings included."""
        for key, value in event.items():
            event[key] = self._shown(key, value)
        return event

    def _shown(self, key: str, value: Any) -> Any:
        if is_secret(key):
            return _MASK
        if key in CONTENT_KEYS and not self._record_content:
            return _LEFT_OUT
        if isinstance(value, Mapping):
            nested = cast("Mapping[object, object]", value)
            return {inner: self._shown(str(inner), item) for inner, item in nested.items()}
        return value


def is_secret(key: str) -> bool:
    """Whether a field of this name is taken for a secret."""
    name = key.lower().replace("-", "_")
    return name not in COUNTS and any(word in name for word in SECRET_WORDS)


def _add_trace(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace = parse(current_traceparent())
    if trace is not None:
        event["trace_id"] = trace.trace_id
    return event


def _rendering(as_json: bool, stream: TextIO) -> list[Processor]:
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if as_json:
        return [drop, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [
        drop,
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]
