"""Versions in git and dvc: pulled, compared, remade, checked and mended."""
