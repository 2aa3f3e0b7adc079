"""Which texts go through the model together. Pure: lengths in, groups of indices out."""

from __future__ import annotations

from collections.abc import Sequence

BATCH_TEXTS = 32
BATCH_TOKENS = 1024
"""Texts times the longest of them. Attention needs memory by the square of the length: 32 texts of 256 tokens took
300 MB and ran slower (15 a second) than 4 of them (26 a second, 80 MB)."""


def batches(lengths: Sequence[int], texts: int = BATCH_TEXTS, tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """The indices of `lengths` in groups of alike length, each index once.

    A group holds at most `texts` texts, and at most `tokens` tokens after padding unless it is a single text.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        group = groups[-1] if groups else []
        # Lengths rise, so this text is the longest of its group.
        if not group or len(group) == texts or (len(group) + 1) * lengths[index] > tokens:
            groups.append([index])
        else:
            group.append(index)
    return groups
