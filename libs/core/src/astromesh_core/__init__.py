"""What every Astromesh service stands on."""
