"""What a mesh is told to be: agents, providers, channels, pipelines and settings, read from YAML and checked."""
