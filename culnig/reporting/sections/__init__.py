"""Sections of a report: one file per group of related sections."""
