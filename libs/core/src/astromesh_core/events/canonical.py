"""Canonical forms and their hashes: what identifies an effect, on any machine and in any release.

Canonical form of a message: RFC 8785 JSON of its set fields under their proto names; integers as numbers, bytes as
lower-case hex, enums by name. Maps and floating point are refused: they have no one form.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import TypeAlias, cast

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message as ProtoMessage

from astromesh.v1.effect_pb2 import Effect
from astromesh.v1.values_pb2 import Image, Message, ToolSpec
from astromesh_core.errors import Bug
from astromesh_core.events.contents import plain

Canonical: TypeAlias = "str | int | bool | list[Canonical] | dict[str, Canonical]"

_LARGEST_INTEGER = 2**53 - 1
_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def canonical_json(value: Canonical) -> bytes:
    """RFC 8785 for values of strings, integers, booleans, lists and objects with ASCII keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def canonical_message(message: ProtoMessage) -> bytes:
    """The canonical form of any message that is meant to be hashed. Raises Bug for a float or a map."""
    return canonical_json(_object(message))


def effect_sha256(effect: Effect) -> bytes:
    """The identity of an effect, beside its path."""
    return hashlib.sha256(canonical_message(effect)).digest()


def catalogue_sha256(tools: Iterable[ToolSpec]) -> bytes:
    """Identifies the tools offered to a model, in their order; empty for none."""
    forms = [_object(tool) for tool in tools]
    return hashlib.sha256(canonical_json(list(forms))).digest() if forms else b""


class KeyedDigest:
    """Digests of personal content: they identify it within a run, and say nothing once the run's key is gone."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of_text(self, text: str) -> bytes:
        """HMAC-SHA256 of the text."""
        return hmac.digest(self._key, text.encode(), "sha256")

    def chained(self, previous: bytes, message: Message) -> bytes:
        """The digest of a transcript that ends with this message, from that of the transcript before it."""
        return hmac.digest(self._key, previous + canonical_json(_transcript_form(message)), "sha256")


def _transcript_form(message: Message) -> Canonical:
    form: dict[str, Canonical] = {"role": message.role, "text": plain(message.content)}
    if message.tool_calls:
        form["calls"] = [[call.id, call.name, plain(call.arguments)] for call in message.tool_calls]
    if message.tool_call_id:
        form["answers"] = message.tool_call_id
    if message.images:
        form["images"] = [_image_form(image) for image in message.images]
    if message.reasoning:
        form["reasoning"] = [[plain(part.text), part.signature] for part in message.reasoning]
    return form


def _image_form(image: Image) -> list[Canonical]:
    form: list[Canonical] = [image.media_type, plain(image.data), plain(image.url)]
    return [*form, image.detail] if image.detail else form


def _object(message: ProtoMessage) -> dict[str, Canonical]:
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: FieldDescriptor, value: object) -> Canonical:
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            raise Bug(f"{field.full_name} is a map: it has no canonical form")
        return [_scalar(field, item) for item in cast("Iterable[object]", value)]
    return _scalar(field, value)


def _scalar(field: FieldDescriptor, value: object) -> Canonical:
    if isinstance(value, ProtoMessage):
        return _object(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        return field.enum_type.values_by_number[cast("int", value)].name
    if field.cpp_type in _FLOATS:
        raise Bug(f"{field.full_name} is floating point: it has no canonical form")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INTEGER:
        return str(value)
    return cast("str | int | bool", value)
