"""Scores of neurons beside gradient × activation, from the same forward and backward pass.

One small file each, registered in the entry-point group `culnig.scorers`.
"""
