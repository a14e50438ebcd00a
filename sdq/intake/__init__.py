"""What visitors bring, decoded with bounds."""
