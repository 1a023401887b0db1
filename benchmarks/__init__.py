"""Measurements against a peer or a bare loop of the same run."""

import flows  # noqa: F401 (its settings must stand before torch is imported)
