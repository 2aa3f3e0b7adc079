"""The same task to several models or agents at once; their answers are joined."""
