"""Photographs in: read, checked, told from their background, split without leaks, hashed."""
