"""Whether an exported file is what a mesh once stored. Needs the file alone; with anchored heads, also who vouches.

every byte     the last line holds the hash of all others, and each line is in its one form
every event    is bound to the one before by its hash, and the last one by the leaf
every chain    stands in the tree whose head is signed
every value    is the one that an event names by its hash
the head       is the one that was told to a place outside the mesh, where such heads are given
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from astromesh.v1.audit_pb2 import TreeHead
from astromesh.v1.envelope_pb2 import Envelope
from astromesh_core.audit.heads import head_of, is_genuine, signed_bytes
from astromesh_core.audit.merkle import leaf_hash, root_of_proof
from astromesh_core.audit.records import FORMAT, Record, Sealing, data_of, leaf_bytes, records
from astromesh_core.errors import InvalidInput
from astromesh_core.events.canonical import Canonical, canonical_json
from astromesh_core.events.chain import StoredEvent, verify_chain
from astromesh_core.events.contents import iter_stored
from astromesh_core.events.runs import is_terminal


@dataclass(frozen=True, slots=True)
class ChainFinding:
    """What was found of one run or session."""

    id: str
    type: str
    events: int
    fault: str = ""
    """Empty where it holds."""
    absent: int = 0
    """Values that its events name and the mesh no longer held as the file was made: nothing but the file says so."""
    ended: bool = False
    """A run whose last event here is its end: nothing came after it. Of any other chain more may be in the log by now,
    and whoever made the file may have left out what came after an earlier head."""


@dataclass(slots=True)
class Finding:
    """What was found of a file. It is what it says where `fault` and every chain's fault are empty."""

    namespace: str = ""
    made_unix_nano: int = 0
    head: TreeHead | None = None
    chains: list[ChainFinding] = field(default_factory=list[ChainFinding])
    fault: str = ""
    anchored: bool = False
    """The head stands among the anchored ones that were given."""

    @property
    def ok(self) -> bool:
        """Whether all of it holds."""
        return not self.fault and not any(chain.fault for chain in self.chains)


def verify(
    lines: Iterable[bytes], *, anchored: Sequence[TreeHead] | None = None, public_key: bytes | None = None
) -> Finding:
    """Reads the file's lines, each with its end, and finds whether they hold.

    `anchored`: the heads of a place outside the mesh; None leaves it open whether the head was ever told to one.
    `public_key`: whose signature is trusted; None takes any, for `Finding.head` to be looked at.
    """
    finding = Finding()
    try:
        _read(records(lines), finding)
        _trust(finding, anchored, public_key)
    except InvalidInput as error:
        finding.fault = error.message
    except ValueError as error:
        finding.fault = f"a field is of another kind: {error}"
    return finding


def _read(stream: Iterator[tuple[bytes, Record]], finding: Finding) -> None:
    sealing = Sealing()
    chain: _Chain | None = None
    seen = set[str]()
    for number, (line, record) in enumerate(stream, 1):
        kind = _KINDS.get(frozenset(record), "")
        if number == 1:
            _begin(record, finding)
        elif number == 2:
            _head(record, finding)
        elif kind == "end":
            _end(line, sealing, chain, stream)
            return
        elif kind == "chain":
            if chain is not None:
                raise InvalidInput(f"line {number}: the chain of {chain.id} has no leaf")
            chain = _Chain(finding, record)
            if chain.id in seen:
                raise InvalidInput(f"line {number}: the chain of {chain.id} is there twice")
            seen.add(chain.id)
        elif chain is not None and kind in ("event", "value", "absent", "leaf"):
            chain.take(kind, record)
            chain = None if kind == "leaf" else chain
        else:
            raise InvalidInput(f"line {number} does not belong here")
        sealing.passed(line)
    raise InvalidInput("the file is cut off: its last line is missing")


_KINDS = {frozenset[str]((kind,)): kind for kind in ("chain", "event", "value", "absent", "end")}
_KINDS[frozenset(("index", "leaf", "proof"))] = "leaf"


def _begin(record: Record, finding: Finding) -> None:
    told = record.get("astromesh_audit")
    if set(record) != {"astromesh_audit", "made_unix_nano", "namespace"} or type(told) is not int or told != FORMAT:
        raise InvalidInput(f"this is no audit file of format {FORMAT}")
    finding.namespace = str(record["namespace"])
    finding.made_unix_nano = int(str(record["made_unix_nano"]))


def _head(record: Record, finding: Finding) -> None:
    head = head_of(record["head"] if set(record) == {"head"} else None)
    if not is_genuine(head):
        raise InvalidInput("the signature of the tree head does not hold")
    finding.head = head


def _end(line: bytes, sealing: Sealing, chain: _Chain | None, stream: Iterator[object]) -> None:
    if chain is not None:
        raise InvalidInput(f"the chain of {chain.id} has no leaf")
    if line != sealing.end():
        raise InvalidInput("lines were changed, removed, added or moved: their hash is not the one in the last line")
    if next(stream, None) is not None:
        raise InvalidInput("there is something after the last line")


def _trust(finding: Finding, anchored: Sequence[TreeHead] | None, public_key: bytes | None) -> None:
    head = finding.head
    assert head is not None
    if public_key is not None and head.public_key != public_key:
        raise InvalidInput(f"the tree head is signed with another key, {head.public_key.hex()}")
    if anchored is None:
        return
    there = [each for each in anchored if (each.tree, each.size) == (head.tree, head.size)]
    if not there:
        raise InvalidInput(f"the head of {head.size} leaves was never anchored where these heads come from")
    if any(signed_bytes(each) != signed_bytes(head) or each.public_key != head.public_key for each in there):
        raise InvalidInput(f"what the head of {head.size} leaves covers was replaced: another one was anchored")
    finding.anchored = True


class _Chain:
    """A chain while its lines are read."""

    def __init__(self, finding: Finding, record: Record) -> None:
        told = record["chain"]
        if not isinstance(told, dict) or set(told) != {"events", "id", "type"}:  # pyright: ignore[reportUnknownArgumentType] - of a file
            raise InvalidInput("a chain has the fields events, id and type, and no other")
        told = cast("dict[str, object]", told)
        self.id, self._type, self._count = str(told["id"]), str(told["type"]), told["events"]
        self._finding = finding
        self._events: list[bytes] = []
        self._values: dict[bytes, bytes] = {}
        self._absent = set[bytes]()

    def take(self, kind: str, record: Record) -> None:
        """Takes one line; with the leaf the chain is judged."""
        if kind == "event":
            self._events.append(data_of(record["event"]))
        elif kind == "value":
            data = data_of(record["value"])
            self._values[hashlib.sha256(data).digest()] = data
        elif kind == "absent":
            self._absent.add(bytes.fromhex(str(record["absent"])))
        else:
            fault = self._broken(record) or self._misplaced(record)
            ended = not fault and is_terminal(Envelope.FromString(self._events[-1]).run)
            events, absent = len(self._events), len(self._absent)
            self._finding.chains.append(ChainFinding(self.id, self._type, events, fault, absent, ended))

    def _broken(self, record: Record) -> str:
        leaf = record["leaf"]
        told = str(cast("dict[str, object]", leaf).get("sha256")) if isinstance(leaf, dict) else ""
        verdict = verify_chain(self._events, bytes.fromhex(told))
        if not verdict.ok:
            return f"event {verdict.broken_at}: {verdict.reason}"
        if type(self._count) is not int or len(self._events) != self._count:
            return f"it has {len(self._events)} events where {self._count} are announced"
        first = Envelope.FromString(self._events[0])
        if first.aggregate_id != self.id or first.namespace != self._finding.namespace:
            return f"event 0: it is of {first.namespace}/{first.aggregate_id}"
        named = {value.sha256 for data in self._events for value in iter_stored(Envelope.FromString(data))}
        held = self._values.keys() | self._absent
        for sha256 in sorted(named ^ held):
            told = "is missing" if sha256 in named else "is named by no event"
            return f"the value {sha256.hex()} {told}"
        return ""

    def _misplaced(self, record: Record) -> str:
        head = self._finding.head
        assert head is not None
        last = StoredEvent(Envelope.FromString(self._events[-1]), self._events[-1]).head()
        leaf = leaf_bytes(self._finding.namespace, self._type, self.id, last.next_index, last.sha256)
        if canonical_json(cast("Canonical", record["leaf"])) != leaf:
            return f"event {last.next_index - 1}: the tree knows another last event"
        index, proof = record.get("index"), record.get("proof")
        if type(index) is not int or not isinstance(proof, list):
            return "its place in the tree is not given"
        try:
            way = [bytes.fromhex(str(each)) for each in cast("list[object]", proof)]
        except ValueError:
            return "its way to the tree's root is no list of hashes"
        if root_of_proof(index, head.size, leaf_hash(leaf), way) != head.root:
            return "it does not stand in the tree whose head is signed"
        return ""
