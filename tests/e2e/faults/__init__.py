"""The fault matrix: one fault at a time on a real cluster, under load, and what came of it."""
