"""What is drawn on a terminal, and written plainly where there is none. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from functools import cache

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GOOD, BAD, WARN, QUIET, NAME, TITLE = "green", "bold red", "yellow", "dim", "cyan", "bold"
"""The styles: few, and each with one meaning."""

STATUS_STYLES = {
    "completed": GOOD,
    "running": NAME,
    "queued": QUIET,
    "suspended": WARN,
    "needs-human": WARN,
    "needs-version": WARN,
    "failed": BAD,
    "compensated": WARN,
    "cancelled": QUIET,
    "succeeded": GOOD,
    "unknown": WARN,
}


class _Console(Console):
    """Leaves a broken pipe to the command, which knows that it is no failure."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@cache
def out() -> Console:
    """Stdout: what was asked for."""
    return _Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


@cache
def err() -> Console:
    """Stderr: progress, hints and failures."""
    return _Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_lively(console: Console) -> bool:
    """Whether a line may be drawn over: a terminal that is not dumb."""
    return console.is_terminal and not console.is_dumb_terminal


def print_json(document: object) -> None:
    """One JSON document on stdout: indented for people, one line for pipes."""
    option = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    print(orjson.dumps(document, option=option).decode(), flush=True)


def print_json_line(document: object) -> None:
    """One line of JSON lines, at once."""
    print(orjson.dumps(document).decode(), flush=True)


def tell(text: str, style: str = "") -> None:
    """A line for people, on stderr."""
    err().print(Text(text, style))


def tell_error(text: str) -> None:
    """What went wrong: its first line stands out."""
    first, _, rest = text.partition("\n")
    err().print(Text("error: ", BAD) + Text(first, "default"))
    if rest:
        err().print(Text(rest, QUIET))


Cell = str | Text


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], console: Console | None = None) -> None:
    """Columns as kubectl prints them: never cut, three spaces between, so that awk can read them too."""
    target = console or out()
    texts = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [
        max([cell_len(heading), *(row[index].cell_len for row in texts)]) for index, heading in enumerate(headings)
    ]
    target.print(_line([Text(heading, TITLE) for heading in headings], widths))
    for row in texts:
        target.print(_line(row, widths))


def milliseconds(span: float) -> str:
    """A duration as people read it: 0.4 ms, 56 ms, 1.24 s, 2 m 05 s."""
    if span < 10:
        return f"{span:.1f} ms"
    if span < 1_000:
        return f"{span:.0f} ms"
    if span < 60_000:
        return f"{span / 1_000:.2f} s"
    return f"{int(span // 60_000)} m {int(span % 60_000 // 1_000):02d} s"


def local_time(moment: str) -> str:
    """A moment in ISO 8601 by the clock on the wall, to the second; nothing of none."""
    if not moment:
        return ""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(status, STATUS_STYLES.get(status, ""))


def shortened(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(1, width - 1)] + "…"


def _line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    line = Text()
    for cell, width in zip(cells, widths, strict=True):
        line.append_text(cell)
        line.append(" " * (width - cell.cell_len + 3))
    line.rstrip()
    return line
