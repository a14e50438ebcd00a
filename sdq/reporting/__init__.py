"""Reports, exports and their sections."""
