"""Fine-tuning that keeps culture: plans of what to train, training by them, and what it did."""
