"""Contract suites: what every adapter of a port must do, as classes of tests that the adapters' own tests inherit."""
