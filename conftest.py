"""Makes the repository's fixtures known to every test."""

pytest_plugins = ["astromesh_testing.fixtures"]
