"""From a recipe and a teacher to a student."""
