"""Lemmatizers: one small file each. Reached through the registry, never imported by name."""
