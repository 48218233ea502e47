"""Ways out of culnig and into it: exported models, answers side by side, other programs."""
