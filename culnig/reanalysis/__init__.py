"""Stored item scores and tensors, reduced again without the model."""
