"""The tree against RFC 9162's own definition, written down as it stands there."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.audit.merkle import EMPTY_ROOT, Growth, inclusion_proof, leaf_hash, node_hash, root_of_proof


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


class Grown:
    """A tree whose nodes are kept in a dictionary."""

    def __init__(self, size: int) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.leaves: list[bytes] = []
        self.growth = Growth(0, self.node)
        for number in range(size):
            self.add(str(number).encode())

    def node(self, level: int, number: int) -> bytes:
        return self.nodes[level, number]

    def add(self, leaf: bytes) -> None:
        self.leaves.append(leaf)
        for made in self.growth.append(leaf_hash(leaf)):
            self.nodes[made.level, made.number] = made.sha256


def test_the_root_is_the_defined_one_at_every_size_and_after_every_restart() -> None:
    grown = Grown(0)
    assert grown.growth.root() == EMPTY_ROOT == defined_root([])
    for number in range(70):
        grown.add(str(number).encode())
        assert grown.growth.root() == defined_root(grown.leaves)
        assert Growth(number + 1, grown.node).root() == grown.growth.root()


@given(st.integers(1, 200).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_a_proof_leads_to_the_root_and_no_other_leaf_or_place_does(place: tuple[int, int]) -> None:
    size, index = place
    grown = Grown(size)
    root, proof = grown.growth.root(), inclusion_proof(index, size, grown.node)
    leaf = leaf_hash(grown.leaves[index])
    assert root_of_proof(index, size, leaf, proof) == root
    assert root_of_proof(index, size, leaf_hash(b"another"), proof) != root
    for other in {0, index - 1, index + 1, size - 1} - {index}:
        assert root_of_proof(other, size, leaf, proof) != root
    assert root_of_proof(index, size, leaf, [*proof, root]) is None
    if proof:
        assert root_of_proof(index, size, leaf, proof[:-1]) != root
        changed = [*proof[:-1], hashlib.sha256(proof[-1]).digest()]
        assert root_of_proof(index, size, leaf, changed) != root


def test_a_proof_of_an_earlier_size_holds_in_the_grown_tree() -> None:
    grown = Grown(100)
    for size in (1, 2, 3, 7, 64, 65, 99):
        proof = inclusion_proof(0, size, grown.node)
        assert root_of_proof(0, size, leaf_hash(b"0"), proof) == defined_root(grown.leaves[:size])
