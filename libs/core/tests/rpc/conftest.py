"""The fixture that runs a test in both placements."""

import pytest

pytest.register_assert_rewrite("astromesh_testing.contracts.call_suite", "astromesh_testing.contracts.placement_suite")

from astromesh_testing.contracts.placement import placement  # noqa: E402 - the registration comes first

__all__ = ["placement"]
