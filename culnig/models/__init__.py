"""Model adapters: bind modules by structure, load weights. Reached through the registry."""
