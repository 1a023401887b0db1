"""A look at the line that changes nothing: its state, its costs, and what this machine has."""
