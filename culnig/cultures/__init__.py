"""Culture records. Reached through the registry, never imported by name."""
