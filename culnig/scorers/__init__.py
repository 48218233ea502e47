"""Scores of neurons other than gradient × activation, from the same forward and backward pass.

`base` is the protocol, `builtin` has the scorers that come with culnig; all are registered in the entry-point
group `culnig.scorers`.
"""
