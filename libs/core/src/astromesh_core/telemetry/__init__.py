"""Traces, metrics and logs. Every name that leaves a process is declared here; nothing else decides what is
recorded."""
