"""The agents as the data plane runs them: watched in KV, compiled once for each version, swapped between runs."""
