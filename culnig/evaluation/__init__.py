"""Masked runs, their metrics and their significance."""
