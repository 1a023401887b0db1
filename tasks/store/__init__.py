"""S3: where objects lie, and the one client that puts, gets, lists and probes them."""
