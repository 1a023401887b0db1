"""Many machines: deployments, workers, and a run that is handed out in parts."""
