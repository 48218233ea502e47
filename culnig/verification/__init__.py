"""Checks that a model is bound and scored correctly on this machine."""
