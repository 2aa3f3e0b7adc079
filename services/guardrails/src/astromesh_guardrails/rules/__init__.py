"""The guardrail rules, a module each: what a rule says of a text and makes of it. Their order stands in `policy`."""
