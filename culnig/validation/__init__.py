"""Planted ground truth: a tiny model whose culture neurons are known, and how well a method finds them."""
