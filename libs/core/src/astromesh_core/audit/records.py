"""The lines of an exported file: JSON in one form (RFC 8785) each, so that no byte of it can differ and mean the same.

{"astromesh_audit":1,…}      what this is, of which namespace, made when
{"head":{…}}                 the signed head that vouches for all that follows
{"chain":{…}}                a run or a session, with the number of its events
{"event":"…"}                its events in order, in base64, byte by byte as they are stored
{"value":"…"}                what its events name by hash, in base64; {"absent":"…"} where the mesh holds it no more
{"leaf":{…},"proof":[…],…}   how far the tree knows the chain, and the way from there to the head's root; and to those
                             of the first heads that covered it, which show that its place was not taken later
{"end":{"lines":n,"sha256":"…"}}   of everything before it
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias, cast

import orjson

from astromesh.v1.audit_pb2 import TreeHead
from astromesh.v1.envelope_pb2 import AGGREGATE_TYPE_RUN, AGGREGATE_TYPE_SESSION, AggregateType
from astromesh_core.audit.heads import head_form
from astromesh_core.errors import InvalidInput
from astromesh_core.events.canonical import Canonical, canonical_json

FORMAT = 1

TYPE_NAMES: dict[AggregateType.ValueType, str] = {AGGREGATE_TYPE_RUN: "run", AGGREGATE_TYPE_SESSION: "session"}

Record: TypeAlias = Mapping[str, object]


def header(namespace: str, time_unix_nano: int) -> bytes:
    """The first line."""
    return _line({"astromesh_audit": FORMAT, "made_unix_nano": str(time_unix_nano), "namespace": namespace})


def head_line(head: TreeHead) -> bytes:
    """The signed head."""
    return _line({"head": head_form(head)})


def chain_line(kind: str, chain_id: str, events: int) -> bytes:
    """The beginning of a chain."""
    return _line({"chain": {"events": events, "id": chain_id, "type": kind}})


def event_line(envelope: bytes) -> bytes:
    """A stored event."""
    return _line({"event": base64.b64encode(envelope).decode()})


def value_line(data: bytes) -> bytes:
    """A value that an event names by its SHA-256."""
    return _line({"value": base64.b64encode(data).decode()})


def absent_line(sha256: bytes) -> bytes:
    """A value that the mesh does not hold any more."""
    return _line({"absent": sha256.hex()})


def leaf_line(
    leaf: bytes, index: int, proof: Sequence[bytes], earlier: Mapping[int, Sequence[bytes]] = MappingProxyType({})
) -> bytes:
    """A chain's place in the tree. `leaf` is what `leaf_bytes` gave; `earlier`: the ways to earlier heads, by their
    sizes."""
    form = cast("Canonical", orjson.loads(leaf))
    ways: list[Canonical] = [{"proof": _hex(way), "size": size} for size, way in sorted(earlier.items())]
    return _line({"earlier": ways, "index": index, "leaf": form, "proof": _hex(proof)})


def leaf_bytes(namespace: str, kind: str, chain_id: str, events: int, sha256: bytes) -> bytes:
    """What the tree holds of a chain: that it had so many events, the last one with this hash."""
    return canonical_json(
        {"events": events, "id": chain_id, "namespace": namespace, "sha256": sha256.hex(), "type": kind}
    )


class Sealing:
    """Passes lines on and, at the end, the last line, which speaks of them all."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._lines = 0

    def passed(self, line: bytes) -> bytes:
        """The line itself."""
        self._digest.update(line)
        self._lines += 1
        return line

    def end(self) -> bytes:
        """The last line, of what was passed so far."""
        return _line({"end": {"lines": self._lines, "sha256": self._digest.hexdigest()}})


def records(lines: Iterable[bytes]) -> Iterator[tuple[bytes, Record]]:
    """Each line with what it says. Raises InvalidInput at the first that is not written in its one form."""
    for number, line in enumerate(lines, 1):
        try:
            value: object = orjson.loads(line)
            written = canonical_json(cast("Canonical", value)) + b"\n"
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"line {number} is no JSON: {error}") from error
        except orjson.JSONEncodeError as error:
            # What can be read and not written: nested deeper than any line of ours.
            raise InvalidInput(f"line {number} is no line of such a file: {error}") from error
        if not isinstance(value, dict) or written != line:
            raise InvalidInput(f"line {number} is not in the form in which it was written")
        yield line, cast("Record", value)


def data_of(text: object) -> bytes:
    """The bytes of a base64 text. Raises InvalidInput where it is none, or not in its one form."""
    try:
        data = base64.b64decode(cast("str", text), validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidInput(f"not base64: {error}") from error
    if base64.b64encode(data).decode() != text:
        raise InvalidInput("base64 that is not in its one form")
    return data


def _hex(proof: Sequence[bytes]) -> list[Canonical]:
    return [each.hex() for each in proof]


def _line(form: dict[str, Canonical]) -> bytes:
    return canonical_json(form) + b"\n"
