"""The instance level: what chosen neurons score on every single problem."""
