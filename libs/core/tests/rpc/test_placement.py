"""Both placements, held to one contract."""

from astromesh_testing.contracts.placement_suite import PlacementContract


class TestPlacement(PlacementContract):
    """Runs every test of the suite in process and over gRPC."""
