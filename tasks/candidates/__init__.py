"""Shards of candidates: every sample that was made, kept with all of its scores."""
