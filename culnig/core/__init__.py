"""Basic types (neurons, items, answers, sums per culture) and arithmetic on plain arrays."""
