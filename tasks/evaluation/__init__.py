"""What a release is worth: arms, scores of detectors, metrics with intervals, and verdicts."""
