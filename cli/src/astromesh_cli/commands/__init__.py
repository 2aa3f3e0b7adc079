"""The commands that talk to a mesh or look at files, a module a group. What one needs is imported when it runs."""
