"""Fakes, contract suites and a nats-server on a free port."""
