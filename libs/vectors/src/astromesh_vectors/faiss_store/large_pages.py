"""Asks the kernel to hold in large pages what searches read. Advice: where it is not taken, nothing else changes.

A search jumps through some hundred megabytes, and finding the place of each small page took a sixth of its time. Linux
gives large pages where a program asks for them (transparent hugepages, `madvise`), at once with MADV_COLLAPSE:
https://docs.kernel.org/admin-guide/mm/transhuge.html, https://man7.org/linux/man-pages/man2/madvise.2.html.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Final

LARGE: Final = 2 << 20
"""Bytes of a large page on the machines that matter; a smaller one elsewhere is advised about all the same."""

_HUGEPAGE: Final = 14
_COLLAPSE: Final = 25


def advise(address: int, size: int) -> None:
    """Takes the large pages that lie wholly within the memory."""
    start, end = -(-address // LARGE) * LARGE, (address + size) // LARGE * LARGE
    if sys.platform == "linux" and start < end:
        for advice in (_HUGEPAGE, _COLLAPSE):
            _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
