"""From a plan to scored candidates: the line, the systems of a dataset together, and what is around their painting."""
