"""The process that documents are parsed in: a request on stdin, its answer on stdout, until stdin ends.

A request is its head's length (4 bytes), the data's length (8), the head as JSON, and the data; an answer is its length
(8) and JSON. Who asks stands in `parsing`.
"""

from __future__ import annotations

import logging
import resource
import struct
import sys
import warnings
from typing import BinaryIO, Final

import orjson

from astromesh_rag.formats import read
from astromesh_rag.readers.text import Unreadable

MEMORY_BYTES: Final = 2 << 30
HEAD: Final = struct.Struct(">IQ")
LENGTH: Final = struct.Struct(">Q")


def main(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers until there are no more requests."""
    while start := requests.read(HEAD.size):
        head_length, data_length = HEAD.unpack(start)
        head = orjson.loads(requests.read(head_length))
        _limit_time(head["seconds"])
        answer = _answer(head["format"], requests.read(data_length), head["charset"])
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _answer(format_: str, data: bytes, charset: str) -> bytes:
    try:
        text = read(format_, data, charset)  # pyright: ignore[reportArgumentType] - the asker sends a Format
    except Unreadable as error:
        return orjson.dumps({"refusal": str(error)})
    except MemoryError:
        return orjson.dumps({"refusal": "needs too much memory to be read"})
    except RecursionError:
        return orjson.dumps({"refusal": "is nested too deeply"})
    return orjson.dumps({"text": text.text, "markdown": text.markdown, "pages": list(text.pages)})


def _limit_time(seconds: int) -> None:
    """Of the processor, for this document: whoever asked may be gone, and this process must not spin for ever."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds + 1, resource.RLIM_INFINITY))


if __name__ == "__main__":
    # What libraries say of a damaged file belongs to nobody's log.
    logging.disable()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    main(sys.stdin.buffer, sys.stdout.buffer)
