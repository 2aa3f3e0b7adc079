"""Signed heads of the tree: made by the mesh, told to places outside it, and checked by anybody with Ed25519."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, cast

import orjson

from astromesh.v1.audit_pb2 import TreeHead
from astromesh_core.errors import InvalidInput
from astromesh_core.events.canonical import Canonical, canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SIGNED_AS = b"astromesh tree head 1\n"
_HASHES = ("previous", "public_key", "root", "signature")
_FORM = frozenset((*_HASHES, "size", "time_unix_nano", "tree"))


class Signer:
    """Signs heads with the key of the mesh."""

    def __init__(self, seed: bytes) -> None:
        """`seed`: the 32 bytes of an Ed25519 private key."""
        self._seed = seed

    @cached_property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, head: TreeHead) -> None:
        """Gives the head this key and its signature."""
        head.public_key = self.public_key
        head.signature = self._key.sign(signed_bytes(head))

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        # Reading the library takes longer than the rest of history's start, and the first head has time.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._seed)


def signed_bytes(head: TreeHead) -> bytes:
    """What the signature covers: all of the head but key and signature, in one form."""
    form: dict[str, Canonical] = {
        "previous": head.previous.hex(),
        "root": head.root.hex(),
        "size": head.size,
        "time_unix_nano": str(head.time_unix_nano),
        "tree": head.tree,
    }
    return _SIGNED_AS + canonical_json(form)


def head_sha256(head: TreeHead) -> bytes:
    """What the next head names this one by."""
    return hashlib.sha256(signed_bytes(head)).digest()


def is_genuine(head: TreeHead) -> bool:
    """Whether the key that the head names signed it. Whose key that is, is another question."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(head.public_key).verify(head.signature, signed_bytes(head))
    except (InvalidSignature, ValueError):
        return False
    return True


def head_form(head: TreeHead) -> dict[str, Canonical]:
    """The head as it stands in files and at anchors; bytes as lower-case hex."""
    return {
        **{name: getattr(head, name).hex() for name in _HASHES},
        "size": head.size,
        "time_unix_nano": str(head.time_unix_nano),
        "tree": head.tree,
    }


def head_of(form: object) -> TreeHead:
    """The head of such a form. Raises InvalidInput, with the reason, for what is none."""
    fields = cast("dict[str, str]", form) if isinstance(form, dict) else {}
    if frozenset(fields) != _FORM:
        raise InvalidInput(f"a tree head has the fields {', '.join(sorted(_FORM))}, and no other")
    try:
        head = TreeHead(
            **{name: bytes.fromhex(fields[name]) for name in _HASHES},  # pyright: ignore[reportArgumentType] - those four are bytes
            size=int(fields["size"]),
            time_unix_nano=int(fields["time_unix_nano"]),
            tree=fields["tree"],
        )
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a tree head has a field of another kind: {error}") from error
    # By its bytes: Python takes true and 1.0 for 1.
    if canonical_json(head_form(head)) != canonical_json(cast("Canonical", form)):
        raise InvalidInput("a tree head is not written in its one form")
    return head


def anchored_heads(text: bytes) -> list[TreeHead]:
    """The heads of a place to which they were told, one a line. Raises InvalidInput, naming the line."""
    heads: list[TreeHead] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            heads.append(head_of(orjson.loads(line)))
        except (orjson.JSONDecodeError, InvalidInput) as error:
            told = error.message if isinstance(error, InvalidInput) else str(error)
            raise InvalidInput(f"line {number} of the anchored heads: {told}") from error
        if not is_genuine(heads[-1]):
            raise InvalidInput(f"line {number} of the anchored heads: its signature does not hold")
    return heads
