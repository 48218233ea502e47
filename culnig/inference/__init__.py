"""From items to a model's answers: encoding, batches, the forward pass. Shared by scoring and evaluation."""
