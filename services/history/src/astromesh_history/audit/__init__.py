"""The signed tree over the log's chains: grown from what history applies, told outside, exported with proofs."""
