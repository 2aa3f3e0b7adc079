"""What the extension offers, built from `libs/native/crates`; `astromesh_native.twins` says what it means."""

VERSION: str
INTERFACE: int
