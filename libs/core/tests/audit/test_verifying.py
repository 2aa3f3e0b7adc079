"""An exported file against everything that somebody might do to it."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.audit_pb2 import TreeHead
from astromesh.v1.envelope_pb2 import Commit, Envelope
from astromesh.v1.run_events_pb2 import RunEvent, ToolSucceeded
from astromesh.v1.values_pb2 import StoredValue, ToolResult
from astromesh_core.audit.heads import Signer, anchored_heads, head_form, head_of, head_sha256, is_genuine
from astromesh_core.audit.merkle import Growth, inclusion_proof, leaf_hash
from astromesh_core.audit.records import (
    Sealing,
    chain_line,
    event_line,
    head_line,
    header,
    leaf_bytes,
    leaf_line,
    value_line,
)
from astromesh_core.audit.verifying import Finding, verify
from astromesh_core.errors import InvalidInput
from astromesh_core.events.canonical import canonical_json
from astromesh_core.events.chain import verify_chain
from astromesh_testing.commits import begun, commit_of, completed, new_run, requested

SIGNER = Signer(b"k" * 32)


class Recorded:
    """A run as it is stored, and a file that holds it among others of the tree."""

    def __init__(self, *bodies: RunEvent, values: Sequence[bytes] = (), signer: Signer = SIGNER) -> None:
        self.run = new_run()
        commit, head = commit_of(self.run, bodies)
        self.events = list(Commit.FromString(commit).envelopes)
        leaf = leaf_bytes("default", "run", self.run.id, head.next_index, head.sha256)
        nodes: dict[tuple[int, int], bytes] = {}
        growth = Growth(0, lambda level, number: nodes[level, number])
        heads = list[TreeHead]()
        for size, each in enumerate((b"a", b"b", leaf, b"c", b"d"), 1):
            nodes.update({(made.level, made.number): made.sha256 for made in growth.append(leaf_hash(each))})
            heads.append(TreeHead(tree="t", size=size, root=growth.root(), time_unix_nano=size, previous=b"p"))
            signer.sign(heads[-1])
        *self.earlier, self.head = heads
        earlier = {size: inclusion_proof(2, size, lambda level, number: nodes[level, number]) for size in (3, 4)}
        proof = inclusion_proof(2, 5, lambda level, number: nodes[level, number])
        sealing = Sealing()
        self.lines = [
            sealing.passed(line)
            for line in (
                header("default", 7),
                head_line(self.head),
                chain_line("run", self.run.id, len(self.events)),
                *map(event_line, self.events),
                *map(value_line, values),
                leaf_line(leaf, 2, proof, earlier),
            )
        ]
        self.lines.append(sealing.end())


def sealed_anew(lines: Sequence[bytes]) -> list[bytes]:
    """The lines with a last line that fits them: what somebody does who knows the form but not the key."""
    sealing = Sealing()
    return [*(sealing.passed(line) for line in lines), sealing.end()]


def told(finding: Finding) -> str:
    return finding.fault or "; ".join(chain.fault for chain in finding.chains if chain.fault)


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded(requested("what is it?"), begun(), begun("2"), completed("this"))


def test_a_file_as_it_was_written_holds(recorded: Recorded) -> None:
    finding = verify(recorded.lines, anchored=[recorded.head], public_key=SIGNER.public_key)
    assert (finding.ok, finding.anchored, finding.namespace) == (True, True, "default")
    assert [(chain.id, chain.events) for chain in finding.chains] == [(recorded.run.id, 4)]
    assert not verify(recorded.lines).anchored


def test_every_flipped_bit_is_found(recorded: Recorded) -> None:
    whole = b"".join(recorded.lines)
    bits = random.Random(7).sample(range(8 * len(whole)), 3_000)
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not verify(bytes(flipped).splitlines(keepends=True)).ok, f"bit {bit}"


@given(st.data())
def test_lines_removed_doubled_moved_and_cut_off_are_found(recorded: Recorded, data: st.DataObject) -> None:
    lines = recorded.lines
    first = data.draw(st.integers(0, len(lines) - 1))
    second = data.draw(st.integers(0, len(lines) - 1).filter(lambda at: at != first))
    swapped = list(lines)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    for other in (swapped, lines[:first] + lines[first + 1 :], lines[: first + 1] + lines[first:], lines[:first]):
        assert not verify(other).ok
        # With a last line that fits, what each line says is what gives it away.
        if other[-1:] == lines[-1:] and other[:-1] != lines[:-1]:
            assert not verify(sealed_anew(other[:-1])).ok


@pytest.mark.parametrize("at", range(4))
def test_an_event_that_was_changed_is_named(recorded: Recorded, at: int) -> None:
    lines = list(recorded.lines[:-1])
    envelope = Envelope.FromString(recorded.events[at])
    envelope.producer = "somebody else"
    lines[3 + at] = event_line(envelope.SerializeToString())
    finding = verify(sealed_anew(lines))
    assert told(finding).startswith(f"event {at}")


def test_a_run_that_was_written_anew_with_the_meshs_own_key_is_found_by_the_anchor(recorded: Recorded) -> None:
    forged = Recorded(requested("what is it?"), completed("that"))
    assert verify(forged.lines, public_key=SIGNER.public_key).ok
    finding = verify(forged.lines, anchored=[recorded.head])
    assert "was replaced" in told(finding)
    assert not finding.anchored


def test_what_was_anchored_once_is_not_written_anew_under_a_later_head(recorded: Recorded) -> None:
    """Who holds the key writes the log anew, and waits until the mesh has told its next head."""
    forged = Recorded(requested("what is it?"), completed("that"))
    before = recorded.earlier[:3]
    assert verify(forged.lines, anchored=[*recorded.earlier[:2], forged.head]).ok
    finding = verify(forged.lines, anchored=[*before, forged.head])
    assert "written anew" in told(finding)
    assert not finding.ok
    assert "two heads of 3" in told(verify(recorded.lines, anchored=[recorded.head, *before, forged.earlier[2]]))


@pytest.mark.parametrize("anchored", [(), (0, 1), (2,), (3,), (0, 2, 3)])
def test_a_chain_is_vouched_for_since_the_first_anchored_head_that_covers_it(
    recorded: Recorded, anchored: Sequence[int]
) -> None:
    heads = [recorded.earlier[at] for at in anchored]
    finding = verify(recorded.lines, anchored=[recorded.head, *heads])
    assert finding.ok, told(finding)
    assert finding.chains[0].anchored_unix_nano == min([5, *(head.size for head in heads if head.size > 2)])


def test_a_head_of_another_key_or_never_anchored_is_not_trusted(recorded: Recorded) -> None:
    other = Recorded(requested(), completed(), signer=Signer(b"o" * 32))
    assert "another key" in told(verify(other.lines, public_key=SIGNER.public_key))
    assert "never anchored" in told(verify(recorded.lines, anchored=[]))


def test_values_are_there_and_no_others() -> None:
    event = requested()
    data = b"a serialised content"
    event.requested.query.stored.CopyFrom(StoredValue(sha256=hashlib.sha256(data).digest(), size_bytes=1))
    assert verify(Recorded(event, completed(), values=[data]).lines).ok
    assert "is missing" in told(verify(Recorded(event, completed()).lines))
    assert "named by no event" in told(verify(Recorded(requested(), completed(), values=[data]).lines))


def test_the_whole_of_a_result_that_was_cut_is_a_value_too() -> None:
    data = b"all of it"
    whole = StoredValue(sha256=hashlib.sha256(data).digest(), size_bytes=len(data))
    event = RunEvent(tool_succeeded=ToolSucceeded(path="2.1", result=ToolResult(whole=whole)))
    finding = verify(Recorded(requested(), event, completed(), values=[data]).lines)
    assert finding.ok, told(finding)
    assert "is missing" in told(verify(Recorded(requested(), event, completed()).lines))


def test_a_run_that_may_have_gone_on_is_told_from_one_that_has_ended(recorded: Recorded) -> None:
    assert verify(recorded.lines).chains[0].ended
    assert not verify(Recorded(requested(), begun()).lines).chains[0].ended


def test_what_means_the_same_and_is_written_otherwise_is_refused(recorded: Recorded) -> None:
    def changed(change: Callable[[dict[str, object]], object], at: int = 3) -> list[bytes]:
        lines = list(recorded.lines[:-1])
        form = orjson.loads(lines[at])
        change(form)
        lines[at] = canonical_json(form) + b"\n"
        return sealed_anew(lines)

    text = base64.b64encode(recorded.events[0]).decode()
    assert "base64" in told(verify(changed(lambda form: form.update(event=text + "\n"))))
    spaced = [line.replace(b":", b": ", 1) for line in recorded.lines]
    assert "line 1" in told(verify(spaced))
    assert not verify(changed(lambda form: form.update(made_unix_nano="x"), 0)).ok
    assert not verify(changed(lambda form: form.update(chain={"events": "4", "id": 1, "type": []}), 2)).ok
    assert not verify(changed(lambda form: form.update(chain=[]), 2)).ok
    assert not verify([*recorded.lines, b"{}\n"]).ok
    for at in range(len(recorded.lines) - 1):
        assert not verify(changed(lambda form: form.update(note="believe me"), at)).ok, at
    sizes = {"head": "size", "chain": "events"}
    for at, name in ((0, "astromesh_audit"), (1, "head"), (2, "chain")):
        for other in (float, bool):

            def otherwise(form: dict[str, Any], name: str = name, other: type = other) -> None:
                holder, key = (form[name], sizes[name]) if name in sizes else (form, name)
                holder[key] = other(holder[key])

            assert not verify(changed(otherwise, at)).ok, (name, other)
    end = recorded.lines[-1].replace(b'"lines":', b'"lines":1', 1)
    assert not verify([*recorded.lines[:-1], end]).ok


def test_no_chain_is_there_twice(recorded: Recorded) -> None:
    assert "twice" in told(verify(sealed_anew([*recorded.lines[:-1], *recorded.lines[2:-1]])))


def test_a_line_that_nothing_can_write_is_refused(recorded: Recorded) -> None:
    deep = b'{"event":' + b"[" * 300 + b"]" * 300 + b"}\n"
    assert "line 4" in told(verify([*recorded.lines[:3], deep]))


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_rubbish_is_refused_and_never_raised(lines: list[bytes]) -> None:
    assert not verify(lines).ok


def test_heads_are_read_back_as_they_were_told(recorded: Recorded) -> None:
    line = canonical_json(head_form(recorded.head))
    (read,) = anchored_heads(line + b"\n")
    assert read == recorded.head
    assert is_genuine(read)
    assert head_sha256(read) == head_sha256(recorded.head)
    read.size += 1
    assert not is_genuine(read)
    with pytest.raises(InvalidInput, match="line 2"):
        anchored_heads(line + b"\n" + line[:-2] + b"\n")
    with pytest.raises(InvalidInput, match="fields"):
        head_of({"root": ""})


def test_the_recorded_run_is_a_chain(recorded: Recorded) -> None:
    assert verify_chain(recorded.events).ok
