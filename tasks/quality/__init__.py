"""Measures of a sample and of many: what changed, how well it sits, how alike samples and photographs are."""
