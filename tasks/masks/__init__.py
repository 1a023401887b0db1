"""Masks: the shapes of defects, and where on an object they may lie."""
