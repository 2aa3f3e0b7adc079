"""The Merkle tree of RFC 9162, section 2.1, with SHA-256: appending, roots, and proofs that a leaf is in it. Pure.

Nodes are named (level, number): level 0 holds the leaves' hashes, and a node of level n the hash of 2^n whole leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """A node over whole leaves: it never changes once it is there."""

    level: int
    number: int
    sha256: bytes


Nodes = Callable[[int, int], bytes]
"""The hash of the node (level, number)."""

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Growth:
    """A tree that grows: the peaks of its whole subtrees, from the left, are all that appending needs."""

    def __init__(self, size: int, nodes: Nodes) -> None:
        """A tree of so many leaves, its nodes looked up once."""
        self.size = size
        self._peaks = [nodes(level, number) for level, number in _peaks(size)]

    def append(self, leaf_sha256: bytes) -> list[Node]:
        """Takes a leaf's hash; answers the nodes that are whole now."""
        made = [Node(0, self.size, leaf_sha256)]
        while self.size >> made[-1].level & 1:
            level, number, right = made[-1]
            made.append(Node(level + 1, number >> 1, node_hash(self._peaks.pop(), right)))
        self._peaks.append(made[-1].sha256)
        self.size += 1
        return made

    def root(self) -> bytes:
        """The root over all leaves so far."""
        return _folded(self._peaks)


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The hashes that lead from the leaf at an index to the root of the tree's first `size` leaves, lowest first."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} among {size}")
    return _path(index, 0, size, nodes)


def root_of_proof(index: int, size: int, leaf_sha256: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that a proof leads to (RFC 9162, 2.1.3.2); None where it is too short or too long for that place."""
    if not 0 <= index < size:
        return None
    at, last, found = index, size - 1, leaf_sha256
    for sibling in proof:
        if last == 0:
            return None
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return found if last == 0 else None


def _path(index: int, first: int, past: int, nodes: Nodes) -> list[bytes]:
    if past - first == 1:
        return []
    middle = first + _largest_power_below(past - first)
    if index < middle:
        return [*_path(index, first, middle, nodes), _root(middle, past, nodes)]
    return [*_path(index, middle, past, nodes), _root(first, middle, nodes)]


def _root(first: int, past: int, nodes: Nodes) -> bytes:
    """The root over the leaves from `first`, which is a multiple of every whole subtree in it."""
    peaks: list[bytes] = []
    for level, number in _peaks(past - first):
        peaks.append(nodes(level, (first >> level) + number))
    return _folded(peaks)


def _folded(peaks: Iterable[bytes]) -> bytes:
    root = b""
    for peak in reversed(list(peaks)):
        root = node_hash(peak, root) if root else peak
    return root or EMPTY_ROOT


def _peaks(size: int) -> list[tuple[int, int]]:
    """The whole subtrees that cover so many leaves, largest first."""
    peaks: list[tuple[int, int]] = []
    covered = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append((level, covered >> level))
            covered += 1 << level
    return peaks


def _largest_power_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1
