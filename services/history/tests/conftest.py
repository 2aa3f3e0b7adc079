"""Both placements, for the service's tests."""

from astromesh_testing.contracts.placement import placement

__all__ = ["placement"]
