"""The words of the program (neurons, items, answers, sums per culture) and arithmetic on plain arrays."""
