"""Networks whose weights are given: where these are, on which device they run, and how a process computes."""
