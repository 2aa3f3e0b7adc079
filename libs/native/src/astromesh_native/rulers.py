"""What measures a text, in characters or in tokens of whole words: Rust where it is built, else the twin."""

from typing import TYPE_CHECKING

from astromesh_native.choice import RUST
from astromesh_native.twins.rulers import CharacterRuler, Ruler, Word, Words

if RUST and not TYPE_CHECKING:
    from astromesh_native_rust import WordRuler
else:
    from astromesh_native.twins.rulers import WordRuler

__all__ = ["CharacterRuler", "Ruler", "Word", "WordRuler", "Words"]
