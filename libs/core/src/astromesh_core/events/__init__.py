"""Pure functions on events: identity, chain, canonical forms, folding. No transport and no storage lives here."""
