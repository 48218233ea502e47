"""From items to scores: batches, capture inside the backward pass, the scoring loop."""
