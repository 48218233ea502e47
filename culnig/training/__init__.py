"""Fine-tuning that keeps culture: plans of what to train, training by a plan, and its effects."""
