"""How a command ends: a failure as one message for people and an exit code for scripts."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

import typer

from astromesh_cli.client.exits import Exit, exit_of_status
from astromesh_core.errors import AstromeshError, Denied, InvalidInput, Unavailable

if TYPE_CHECKING:
    from pydantic import JsonValue


class Unreachable(Unavailable):
    """Nothing answers at the mesh's address, or the connection broke."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"nothing answers at {url}; start it with `astromesh up`")
        self.url = url
        self.reason = reason


class Refused(AstromeshError):
    """The mesh answered a problem document (RFC 9457)."""

    def __init__(self, status: int, document: Mapping[str, JsonValue]) -> None:
        self.status = status
        self.document = dict(document)
        super().__init__(str(document.get("detail") or document.get("title") or f"the mesh answered {status}"))

    @property
    def run_id(self) -> str:
        """The run in which it happened; "" for none."""
        return str(self.document.get("run_id") or "")


class Failed(AstromeshError):
    """The command did what was asked, and what it found is no success. `document` is the reply that says so, for
    scripts; None where it was printed already."""

    def __init__(self, message: str, document: object = None, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.document = document
        self.exit = code


@contextmanager
def reported(*, as_json: bool = False) -> Generator[None]:
    """Ends the command for what is raised within: one message on stderr, with `as_json` the document on stdout too."""
    try:
        yield
    except Refused as error:
        _end(_refusal(error), exit_of_status(error.status), error.document if as_json else None)
    except Unreachable as error:
        document = {"title": "Not reachable", "detail": error.message, "reason": error.reason}
        _end(error.message, Exit.UNREACHABLE, document if as_json else None)
    except InvalidInput as error:
        _end(error.message, Exit.USAGE, {"title": "Wrong usage", "detail": error.message} if as_json else None)
    except Denied as error:
        _end(error.message, Exit.CONFIGURATION, {"title": "Denied", "detail": error.message} if as_json else None)
    except Failed as error:
        _end(error.message, error.exit, error.document if as_json else None)
    except BrokenPipeError:
        # The reader of a pipe has seen enough: no failure of ours. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.OK) from None
    except KeyboardInterrupt:
        _end("", Exit.INTERRUPTED, None)


def problem_message(document: Mapping[str, JsonValue]) -> str:
    """A problem document as one message: what, why, where each reason stands, and the run."""
    title, detail = str(document.get("title") or ""), str(document.get("detail") or "")
    reasons = _reasons(document)
    # The detail of an invalid resource is the list of its reasons in one line.
    lines = [title or detail] if reasons else [f"{title}: {detail}" if title and detail else title or detail]
    lines += [f"  {reason}" for reason in reasons]
    if document.get("retry_after") is not None:
        lines.append(f"  try again in {waiting(document['retry_after'])}")
    if document.get("run_id"):
        lines.append(f"  run {document['run_id']} (astromesh runs show {document['run_id']})")
    return "\n".join(lines)


def waiting(seconds: JsonValue) -> str:
    """How long to wait, as people say it: to the second below two minutes, else in hours and minutes."""
    whole = ceil(seconds) if isinstance(seconds, int | float) else 0
    if whole < 120:
        return f"{whole} s"
    hours, minutes = divmod(ceil(whole / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _refusal(error: Refused) -> str:
    text = problem_message(error.document)
    if error.status == 401:
        text += "\n  set ASTROMESH_API_KEY to a key of this mesh"
    return text


def _reasons(document: Mapping[str, JsonValue]) -> list[str]:
    listed = document.get("errors")
    reasons: list[str] = []
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict):
            place, hint = str(item.get("path") or ""), str(item.get("hint") or "")
            text = ": ".join(part for part in (place, str(item.get("reason") or "")) if part)
            reasons.append(f"{text} ({hint})" if hint else text)
    return reasons


def _end(text: str, code: Exit, document: object) -> None:
    from astromesh_cli.client.terminal import print_json, tell_error

    if document is not None:
        print_json(document)
    if text:
        tell_error(text)
    raise typer.Exit(code) from None
