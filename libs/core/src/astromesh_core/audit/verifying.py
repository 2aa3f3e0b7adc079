"""Whether an exported file is what a mesh once stored. Needs the file alone; with anchored heads, also who vouches.

every byte     the last line holds the hash of all others, and each line is in its one form
every event    is bound to the one before by its hash, and the last one by the leaf
every chain    stands in the tree whose head is signed
every value    is the one that an event names by its hash
the head       is the one that was told to a place outside the mesh, where such heads are given; and every chain stood
               under the first of them that covers its place: what was told once is not written anew under a later one
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
    last_unix_nano: int = 0
    """When its last event was stored, as it says itself."""
    anchored_unix_nano: int = 0
    """When the first anchored head that covers it was signed; 0 where none were given. Far behind the last event, it
    came into the tree late: nobody outside vouches for what it was before."""


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
        places = _read(records(lines), finding)
        _trust(finding, places, anchored, public_key)
    except InvalidInput as error:
        finding.fault = error.message
    except ValueError as error:
        finding.fault = f"a field is of another kind: {error}"
    return finding


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a chain's leaf stands in the tree, and its ways to earlier heads by their sizes."""

    index: int
    sha256: bytes
    earlier: Mapping[int, Sequence[bytes]]


def _read(stream: Iterator[tuple[bytes, Record]], finding: Finding) -> list[_Place | None]:
    """The places of the finding's chains; None of one with a fault."""
    sealing, places = Sealing(), list[_Place | None]()
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
            return places
        elif kind == "chain":
            if chain is not None:
                raise InvalidInput(f"line {number}: the chain of {chain.id} has no leaf")
            chain = _Chain(finding, record)
            if chain.id in seen:
                raise InvalidInput(f"line {number}: the chain of {chain.id} is there twice")
            seen.add(chain.id)
        elif chain is not None and kind in ("event", "value", "absent", "leaf"):
            if kind == "leaf":
                places.append(chain.judged(record))
                chain = None
            else:
                chain.take(kind, record)
        else:
            raise InvalidInput(f"line {number} does not belong here")
        sealing.passed(line)
    raise InvalidInput("the file is cut off: its last line is missing")


_KINDS = {frozenset[str]((kind,)): kind for kind in ("chain", "event", "value", "absent", "end")}
_KINDS[frozenset(("earlier", "index", "leaf", "proof"))] = "leaf"


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


def _trust(
    finding: Finding,
    places: Sequence[_Place | None],
    anchored: Sequence[TreeHead] | None,
    public_key: bytes | None,
) -> None:
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
    firsts = sorted((each for each in anchored if each.tree == head.tree), key=lambda each: each.size)
    for one, other in pairwise(firsts):
        if one.size == other.size and one.root != other.root:
            raise InvalidInput(f"two heads of {one.size} leaves were anchored: the log was written anew")
    for number, place in enumerate(places):
        if place is not None:
            first = firsts[bisect_right(firsts, place.index, key=lambda each: each.size)]
            finding.chains[number] = _since(finding.chains[number], place, first, head)


def _since(chain: ChainFinding, place: _Place, first: TreeHead, head: TreeHead) -> ChainFinding:
    """The chain by the first anchored head that covers its place."""
    fault, way = "", place.earlier.get(first.size)
    if first.size != head.size and way is None:
        fault = f"nothing shows that it stood under the head of {first.size} leaves, the first given that covers it"
    elif way is not None and root_of_proof(place.index, first.size, place.sha256, way) != first.root:
        fault = f"its place was another's as the head of {first.size} leaves was anchored: it was written anew"
    return replace(chain, fault=fault, anchored_unix_nano=first.time_unix_nano)


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
        """Takes one line."""
        if kind == "event":
            self._events.append(data_of(record["event"]))
        elif kind == "value":
            data = data_of(record["value"])
            self._values[hashlib.sha256(data).digest()] = data
        else:
            self._absent.add(bytes.fromhex(str(record["absent"])))

    def judged(self, record: Record) -> _Place | None:
        """What the leaf makes of it, as a finding; its place, where it has no fault."""
        events, absent = len(self._events), len(self._absent)
        found = self._broken(record) or self._placed(record)
        if isinstance(found, str):
            self._finding.chains.append(ChainFinding(self.id, self._type, events, found, absent))
            return None
        last = Envelope.FromString(self._events[-1])
        finding = ChainFinding(
            self.id, self._type, events, "", absent, ended=is_terminal(last.run), last_unix_nano=last.time_unix_nano
        )
        self._finding.chains.append(finding)
        return found

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

    def _placed(self, record: Record) -> _Place | str:
        head = self._finding.head
        assert head is not None
        last = StoredEvent(Envelope.FromString(self._events[-1]), self._events[-1]).head()
        leaf = leaf_bytes(self._finding.namespace, self._type, self.id, last.next_index, last.sha256)
        if canonical_json(cast("Canonical", record["leaf"])) != leaf:
            return f"event {last.next_index - 1}: the tree knows another last event"
        index = record["index"]
        if type(index) is not int:
            return "its place in the tree is not given"
        try:
            way, earlier = _way(record["proof"]), _earlier(record["earlier"])
        except (ValueError, TypeError, KeyError):
            return "its way to the tree's root is no list of hashes"
        if root_of_proof(index, head.size, leaf_hash(leaf), way) != head.root:
            return "it does not stand in the tree whose head is signed"
        return _Place(index, leaf_hash(leaf), earlier)


def _way(proof: object) -> list[bytes]:
    return [bytes.fromhex(cast("str", each)) for each in cast("list[object]", proof)]


def _earlier(ways: object) -> dict[int, list[bytes]]:
    return {cast("int", way["size"]): _way(way["proof"]) for way in cast("list[Record]", ways)}
