"""The way onto NATS JetStream: the event log and what stands beside it. NATS is not seen outside."""
