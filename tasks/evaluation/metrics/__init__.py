"""Metrics of score maps: exact, from histograms, with intervals, and what a test set allows."""
