"""Content values: making plain ones, reading them, finding them all in a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from google.protobuf.message import Message as ProtoMessage

from astromesh.v1.values_pb2 import Content, StoredValue
from astromesh_core.errors import Bug, NotFound

# As it stands in a serialised message: Content.stored (tag 3) or ToolResult.whole (tag 6), its length, then
# StoredValue.sha256 (tag 1), 32 bytes. It begins with the bytes that are one thing, for these are searched ten times as
# fast as a choice; what comes before them is looked at behind.
_MAY_BE_STORED = re.compile(rb"\x0a\x20(?<=[\x1a\x32][\x22-\x2c]\x0a\x20)")


def may_hold_stored(message: bytes) -> bool:
    """Whether a serialised message may refer to a value in the object store. False is certain.

    Looking into every event for contents costs more than all the rest; most have none that is stored.
    """
    return _MAY_BE_STORED.search(message) is not None


def text_content(text: str) -> Content:
    """A plain content value."""
    return Content(text=text)


def plain(content: Content) -> str:
    """The text of a plain content; empty where none is set.

    Raises NotFound for sealed content (its key is gone or not here), Bug for one that was not fetched from the object
    store first.
    """
    form = content.WhichOneof("form")
    if form is None or form == "text":
        return content.text
    if form == "sealed":
        raise NotFound("this content is sealed: its key was erased or is not held here")
    raise Bug("this content lies in the object store and was not fetched before it was read")


def iter_contents(message: ProtoMessage) -> Iterator[Content]:
    """Every Content in a message, at any depth, in field order. The values are the message's own, not copies."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        items: Iterable[ProtoMessage] = value if field.is_repeated else (value,)
        for item in items:
            if isinstance(item, Content):
                yield item
            else:
                yield from iter_contents(item)


def iter_stored(message: ProtoMessage) -> Iterator[StoredValue]:
    """Every reference to a value in the object store: contents that were moved there, and the whole of cut results."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        items: Iterable[ProtoMessage] = value if field.is_repeated else (value,)
        for item in items:
            if isinstance(item, StoredValue):
                yield item
            else:
                yield from iter_stored(item)
