"""What `astromesh doctor` looks at."""
