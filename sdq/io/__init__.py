"""What the engine writes and reads: files, logs, seals, limits, and where errors end."""
