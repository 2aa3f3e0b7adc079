"""Model servers for tests, on loopback, speaking the vendors' documented wire formats, with faults on demand."""
