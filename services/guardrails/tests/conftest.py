"""The placements that the service runs in for its tests."""

from __future__ import annotations

from astromesh_testing.contracts.placement import placement

__all__ = ["placement"]
