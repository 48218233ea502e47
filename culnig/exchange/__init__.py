"""Exchange with other programs: exported models, answers side by side, lm-evaluation-harness."""
