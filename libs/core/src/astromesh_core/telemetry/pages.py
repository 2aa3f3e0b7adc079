"""Joins pages of Prometheus' text exposition format as `prometheus_client` writes them: each family once, opened by its
HELP and TYPE, then its samples. What a sample's labels say is not looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_FAMILY: Final = re.compile(r"^# HELP (\S+).*\n# TYPE .*\n", re.MULTILINE)
"""What opens a family, and its name. Line ends in help texts and labels are escaped, so that nothing else begins so."""


def joined(pages: Iterable[str]) -> str:
    """One page with the samples of all, in their order. HELP and TYPE of a family are those of the first that has it.

    No two pages may have the same sample: a label tells them apart.
    """
    families: dict[str, list[str]] = {}
    for page in pages:
        openings = list(_FAMILY.finditer(page))
        ends = [*(opening.start() for opening in openings[1:]), len(page)]
        for opening, end in zip(openings, ends, strict=False):
            families.setdefault(opening[1], [opening[0]]).append(page[opening.end() : end])
    return "".join(part for family in families.values() for part in family)
