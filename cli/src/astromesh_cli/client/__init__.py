"""What the client commands share: the way to the mesh, what its failures mean for a script, how text is drawn."""
