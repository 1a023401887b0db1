"""Detectors, one file each: what the evaluation trains on real and on painted defects."""
