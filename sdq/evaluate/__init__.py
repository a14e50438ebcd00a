"""Predictions, scores, and what of their differences is more than chance."""
