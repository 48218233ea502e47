"""Checks that a model is bound rightly and scored rightly on this machine."""
