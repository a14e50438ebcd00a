"""Runs and inspections as jobs of a process of their own."""
