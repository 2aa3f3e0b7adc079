"""Code of users, named by import path: finding it, following its edits, and the edge at which it may raise anything."""
